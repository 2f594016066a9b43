import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { z } from "zod";

import type { Arena } from "./arena.ts";
import { enqueueBenchJobs } from "./bench-job.ts";
import { readCpu } from "./cpu.ts";
import { openLedger } from "./evenkeel.ts";

/** What one process did in one drain; nothing, once it is ready. */
export interface DrainedByProcess {
  readonly succeeded: number;
  readonly cpuSeconds: number;
}

const messageSchema: z.ZodType<DrainedByProcess> = z.object({
  succeeded: z.number(),
  cpuSeconds: z.number(),
});

/** Drains by one worker process and by several, round by round. */
export interface ProcessRates {
  /** Jobs per second. */
  readonly byOne: readonly number[];
  readonly byFour: readonly number[];
  /** Cores that the workers and Postgres kept busy. */
  readonly coresOfOne: readonly number[];
  readonly coresOfFour: readonly number[];
}

const processes = 4;

/** Drains no-op jobs by one worker process and by four in turn, after a round that is left out. */
export async function measureProcesses(
  arena: Arena,
  { count, rounds }: { readonly count: number; readonly rounds: number },
): Promise<ProcessRates> {
  const database = await arena.createDatabase("processes");
  const url = arena.url(database);
  const opened = await openLedger(url);
  const script = fileURLToPath(new URL("worker-process.ts", import.meta.url));
  const workers = Array.from({ length: processes }, (_, index) =>
    fork(script, [url, `bench-${index}`]),
  );
  await Promise.all(workers.map(nextMessage));
  const figures = {
    byOne: [] as number[],
    byFour: [] as number[],
    coresOfOne: [] as number[],
    coresOfFour: [] as number[],
  };
  for (let round = 0; round <= rounds; round += 1) {
    const sizes = round % 2 === 0 ? [1, processes] : [processes, 1];
    for (const size of sizes) {
      await enqueueBenchJobs(opened.pool, count);
      const { jobsPerSecond, cores } = await drainBy(workers.slice(0, size), arena, count);
      if (round === 0) continue;
      figures[size === 1 ? "byOne" : "byFour"].push(jobsPerSecond);
      figures[size === 1 ? "coresOfOne" : "coresOfFour"].push(cores);
    }
  }
  for (const worker of workers) {
    const exit = once(worker, "exit");
    worker.disconnect();
    await exit;
  }
  await opened.close();
  return figures;
}

async function drainBy(
  workers: readonly ChildProcess[],
  arena: Arena,
  count: number,
): Promise<{ jobsPerSecond: number; cores: number }> {
  const before = await readCpu(arena.cluster.pid);
  const startedAtMs = performance.now();
  const drained = await Promise.all(
    workers.map(async (worker) => {
      const done = nextMessage(worker);
      worker.send("drain");
      return done;
    }),
  );
  const seconds = (performance.now() - startedAtMs) / 1_000;
  const after = await readCpu(arena.cluster.pid);
  const succeeded = drained.reduce((sum, by) => sum + by.succeeded, 0);
  if (succeeded !== count) throw new Error(`${succeeded} of ${count} jobs succeeded.`);
  const hosts = drained.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0);
  const postgres = (after.postgres ?? Number.NaN) - (before.postgres ?? Number.NaN);
  return { jobsPerSecond: count / seconds, cores: (hosts + postgres) / seconds };
}

async function nextMessage(worker: ChildProcess): Promise<DrainedByProcess> {
  const ended = new AbortController();
  try {
    const [message]: unknown[] = await Promise.race([
      once(worker, "message", { signal: ended.signal }),
      once(worker, "exit", { signal: ended.signal }).then(() => {
        throw new Error("A worker process ended before it was told to.");
      }),
    ]);
    return messageSchema.parse(message);
  } finally {
    ended.abort();
  }
}
