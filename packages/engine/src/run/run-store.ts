import { type NewRun, type Run, isEnded, newRun } from "./run.ts";

/** The runs under way, and as many ended ones as the retention allows. */
export interface RunStore {
  create(fields: NewRun): Run;
  find(runId: string): Run | undefined;
  /** Oldest first. */
  all(): Run[];
  /** Takes note that a run has ended, which may push the oldest ended one out. */
  retire(run: Run): void;
  clear(): void;
}

/** Creates a {@link RunStore} that keeps `limit` ended runs. */
export function createRunStore(limit: number): RunStore {
  const runs = new Map<string, Run>();
  const ended: string[] = [];
  let head = 0;
  let created = 0;
  return {
    create(fields) {
      created += 1;
      const run = newRun(fields, created);
      runs.set(run.id, run);
      return run;
    },
    find: (runId) => runs.get(runId),
    all: () => [...runs.values()],
    retire(run) {
      if (!isEnded(run)) return;
      run.memo.clear();
      run.jobIds.clear();
      run.pending.clear();
      run.stack = [];
      ended.push(run.id);
      if (ended.length - head <= limit) return;
      const oldest = ended[head];
      head += 1;
      if (oldest !== undefined) runs.delete(oldest);
      if (head > 1_024 && head * 2 > ended.length) {
        ended.splice(0, head);
        head = 0;
      }
    },
    clear() {
      // A request that is still under way may hold on to its run: nothing follows from it any more.
      for (const run of runs.values()) if (!isEnded(run)) run.status = "Cancelled";
      runs.clear();
      ended.length = 0;
      head = 0;
    },
  };
}
