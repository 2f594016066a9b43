import type { Ledger, Settlement } from "@evenkeel/ledger";
import { expect } from "vitest";

import type { Host } from "./host.ts";
import type { JobEnd, LedgerModel } from "./ledger-model.ts";
import { reconcileModel, requeueModel } from "./reconciliation-model.ts";
import { pruneModel } from "./retention-model.ts";
import { settings } from "./settings.ts";

/** The parts of a ledger that the lifecycles use. */
export type MirroredLedger = Pick<
  Ledger,
  "windows" | "guards" | "runs" | "jobs" | "deadLetters" | "reconcile" | "prune" | "asOperator"
>;

/** What is shared by every mirror of one sequence. */
export interface MirrorState {
  readonly ledger: Ledger;
  readonly model: LedgerModel;
  /** Where an answer was not the model's: dispatchers take a throw for a ledger that is unavailable. */
  readonly mismatches: unknown[];
  /** How often each job was queued, and how often it ended. */
  readonly queued: Map<number, number>;
  readonly ended: Map<number, number>;
  /** How often the ledger put a start of each job on record. */
  readonly started: Map<number, number>;
}

/** Counts one more. */
export function count(counts: Map<number, number>, key: number): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

const endOf: Partial<Record<Settlement["kind"], JobEnd>> = {
  succeeded: "succeeded",
  retry: "retry",
  released: "released",
  dead: "dead",
};

/** What the mirror of each store works with. */
interface Mirror extends MirrorState {
  readonly host: Host;
  /** Notes and throws where an answer is not the model's. */
  readonly same: (what: string, actual: unknown, expected: unknown) => void;
}

/** The real ledger, whose every answer is compared with what the model answers to the same call. */
export function mirrorLedger(state: MirrorState, host: Host): MirroredLedger {
  const same = (what: string, actual: unknown, expected: unknown): void => {
    try {
      expect({ [what]: actual }).toEqual({ [what]: expected });
    } catch (error) {
      state.mismatches.push(error);
      throw error;
    }
  };
  const mirror = { ...state, host, same };
  return {
    windows: mirrorWindows(mirror),
    runs: mirrorRuns(mirror),
    guards: mirrorGuards(mirror),
    jobs: mirrorJobs(mirror),
    deadLetters: mirrorDeadLetters(mirror),
    reconcile: mirrorReconcile(mirror),
    prune: mirrorPrune(mirror),
    asOperator: mirrorOperator(mirror),
  };
}

function mirrorWindows({ ledger, model, host, same }: Mirror): MirroredLedger["windows"] {
  return {
    ...ledger.windows,
    look: async (tick) => {
      const hasWork = model.hasWork();
      const answer = await ledger.windows.look(tick);
      same("windows.look, work", answer.hasWork, hasWork);
      if (model.waitsForRepair()) same("windows.look, upkeep", answer.isMaintenanceDue, true);
      const isIdle = !hasWork && !answer.isMaintenanceDue && !model.windows.has(tick.dispatchKey);
      same("windows.look, idle", answer.isIdle, isIdle);
      if (isIdle) model.idle.add(tick.dispatchKey);
      same(
        "windows.wasIdle",
        await ledger.windows.wasIdle(tick.dispatchKey),
        isIdle || model.idle.has(tick.dispatchKey),
      );
      return answer;
    },
    claim: async (claim) => {
      await host.reached("beforeClaim");
      const sendsWork = claim.events?.includes("background/process.requested") !== false;
      const startsAt = claim.windowStart.getTime();
      const expected = model.claimWindow(claim.dispatchKey, startsAt, sendsWork);
      const answer = await ledger.windows.claim(claim);
      same("windows.claim", answer.outcome, expected);
      if (answer.outcome === "claimed") {
        model.windows.get(claim.dispatchKey)!.fence = answer.fence;
      }
      return answer;
    },
    markEnqueued: async (key, fence) => {
      const expected = model.settleWindow(key, fence, "ENQUEUED");
      const answer = await ledger.windows.markEnqueued(key, fence);
      same("windows.markEnqueued", answer, expected);
      await host.reached("recordedNotAnswered");
      return answer;
    },
    markFailed: async (key, fence, error) => {
      const expected = model.settleWindow(key, fence, "ENQUEUE_FAILED");
      const answer = await ledger.windows.markFailed(key, fence, error);
      same("windows.markFailed", answer, expected);
      return answer;
    },
  };
}

function mirrorRuns({ ledger, model, host, same }: Mirror): MirroredLedger["runs"] {
  return {
    ...ledger.runs,
    begin: async (start) => {
      await host.reached("runDelivered");
      const expected = model.beginRun(start.runId, start.dispatchKey ?? "");
      const answer = await ledger.runs.begin(start);
      same("runs.begin", answer !== undefined, expected);
      if (answer !== undefined) model.runs.get(start.runId)!.fence = answer.fence;
      await host.reached("runBegun");
      return answer;
    },
    finish: async (end) => {
      const { runId, status, fence } = end;
      if (status === "CANCELLED") throw new Error("No run is cancelled here.");
      const expected = model.finishRun(runId, status, fence);
      const answer = await ledger.runs.finish(end);
      same("runs.finish", answer, expected);
      await host.reached("runFinished");
      return answer;
    },
  };
}

function mirrorGuards({ ledger, model, host, same }: Mirror): MirroredLedger["guards"] {
  return {
    take: async (request) => {
      const expected = model.takeGuard(request.dispatchKey, request.runId);
      const answer = await ledger.guards.take(request);
      const holder = answer.outcome === "taken" ? request.runId : answer.runId;
      same("guards.take", holder, expected);
      await host.reached("guardTaken");
      return answer;
    },
  };
}

function mirrorJobs({ ledger, model, host, same, ended, started }: Mirror): MirroredLedger["jobs"] {
  return {
    ...ledger.jobs,
    claim: async (request) => {
      const expected = model.claimJobs();
      const answer = await ledger.jobs.claim(request);
      const numbers = answer.jobs.map(({ payload }) => (payload as { job: number }).job);
      same("jobs.claim", numbers.toSorted(ascending), expected.toSorted(ascending));
      for (const [place, { id, fence }] of answer.jobs.entries()) {
        Object.assign(model.jobs.get(numbers[place]!)!, { id, fence });
      }
      await host.reached("jobsClaimed");
      return answer;
    },
    start: async (claims) => {
      const expected = claims.filter(({ id, fence }) => model.startJob(id, fence));
      const answer = await ledger.jobs.start(claims);
      same("jobs.start", answer, new Set(expected.map(({ id }) => id)));
      for (const [job, { id }] of model.jobs) if (answer.has(id)) count(started, job);
      await host.reached("jobsStarted");
      return answer;
    },
    heartbeat: async (claims, leaseMs) => {
      const expected = claims.filter(({ id, fence }) => model.heartbeatJob(id, fence));
      const answer = await ledger.jobs.heartbeat(claims, leaseMs);
      same("jobs.heartbeat", answer, new Set(expected.map(({ id }) => id)));
      return answer;
    },
    settle: async (settlements) => {
      await host.reached("effectsDone");
      const expected = new Set<string>();
      for (const { id, fence, kind } of settlements) {
        const end = endOf[kind];
        if (end === undefined) throw new Error(`No job is ${kind} here.`);
        const job = [...model.jobs].find(([, held]) => held.id === id)?.[0];
        if (!model.settleJob(id, fence, end)) continue;
        expected.add(id);
        if (end === "succeeded" || end === "dead") count(ended, job!);
      }
      const answer = await ledger.jobs.settle(settlements);
      same("jobs.settle", answer, expected);
      await host.reached("jobsSettled");
      return answer;
    },
  };
}

function mirrorDeadLetters({ ledger, model, same }: Mirror): MirroredLedger["deadLetters"] {
  return {
    file: async (letter) => {
      const expected = model.fileRunLetter(letter.sourceId, eventIdOf(letter.payload));
      const answer = await ledger.deadLetters.file(letter);
      same("deadLetters.file", answer.created, expected);
      return answer;
    },
  };
}

function mirrorReconcile({ ledger, model, same }: Mirror): MirroredLedger["reconcile"] {
  return async (request) => {
    const expected = reconcileModel(model);
    const answer = await ledger.reconcile(request);
    same(
      "reconcile",
      {
        stale: answer.stale.map(({ runId }) => runId).toSorted(),
        repairs: new Map(answer.repairs.map(({ reason, window }) => [window.dispatchKey, reason])),
        givenUp: answer.givenUp.toSorted(),
        breaches: answer.breaches.map(({ dispatchKey }) => dispatchKey),
      },
      { ...expected, stale: expected.stale.toSorted(), givenUp: expected.givenUp.toSorted() },
    );
    same("promise P1", answer.breaches, []);
    for (const { fence, window } of answer.repairs) {
      model.windows.get(window.dispatchKey)!.fence = fence;
    }
    return answer;
  };
}

function mirrorPrune({ ledger, model, host, same }: Mirror): MirroredLedger["prune"] {
  return async (request) => {
    const expected = pruneModel(model);
    const answer = await ledger.prune({ ...request, latenessMs: settings.latenessMs });
    const deleted = Object.fromEntries(Object.keys(expected).map((table) => [table, 0]));
    for (const { table, deleted: rows } of answer.rows) {
      if (table in deleted) deleted[table]! += rows;
    }
    same("prune", deleted, expected);
    await host.reached("rowsPruned");
    return answer;
  };
}

function mirrorOperator({
  ledger,
  model,
  host,
  same,
  queued,
}: Mirror): MirroredLedger["asOperator"] {
  return (actor) => {
    const operator = ledger.asOperator(actor);
    const { deadLetters } = operator;
    return {
      ...operator,
      deadLetters: {
        ...deadLetters,
        requeue: async (items, reason) => {
          const expected: string[] = [];
          for (const { id } of items) {
            const letter = await deadLetters.find(id);
            const known = model.letters.find(
              ({ kind, sourceId, status }) =>
                kind === letter?.kind && sourceId === letter.sourceId && status === "OPEN",
            );
            if (known === undefined || !requeueModel(model, known, id)) continue;
            expected.push(id);
            if (known.job !== undefined) count(queued, known.job);
          }
          const answer = await deadLetters.requeue(items, reason);
          same("deadLetters.requeue", answer.toSorted(), expected.toSorted());
          await host.reached("lettersRequeued");
          return answer;
        },
      },
    };
  };
}

function ascending(one: number, other: number): number {
  return one - other;
}

function eventIdOf(payload: unknown): string {
  return (payload as { id: string }).id;
}
