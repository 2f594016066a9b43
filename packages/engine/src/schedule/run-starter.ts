import { eventMap } from "../event/event.ts";
import type { Journal } from "../journal.ts";
import type { JobQueue } from "../queue/job-queue.ts";
import type { RunStore } from "../run/run-store.ts";
import type { Run } from "../run/run.ts";
import type { WaitResolver } from "../step/wait-resolver.ts";
import { readRequestClaims, readRunClaims } from "./concurrency-claims.ts";
import type { DecisionLog } from "./decision-log.ts";
import { readHeadStartMs, readThrottleKey } from "./queue-order.ts";
import type { Singletons } from "./singletons.ts";
import type { StartCandidate, StartGate } from "./start-gate.ts";
import type { StartRequest } from "./start-request.ts";

/** Starts runs: one for each request that the gate lets through. */
export interface RunStarter {
  start(request: StartRequest): void;
}

/** Creates a {@link RunStarter}. */
export function createRunStarter(deps: {
  gate: StartGate;
  queue: JobQueue;
  runs: RunStore;
  waitResolver: WaitResolver;
  singletons: Singletons;
  decisions: DecisionLog;
  journal: Journal;
  now: () => number;
  nextId: () => string;
}): RunStarter {
  const { gate, queue, runs, waitResolver, singletons, decisions, journal, now } = deps;

  function createRun(candidate: StartCandidate, singletonKey: string | undefined): Run {
    const { request, event, key } = candidate;
    const { fn, events } = request;
    const throttleKey = readThrottleKey(fn, event);
    return runs.create({
      id: deps.nextId(),
      fn,
      events,
      idempotencyKey: key,
      queuedAtMs: now(),
      claims: readRequestClaims(fn, event),
      runClaims: readRunClaims(fn, event),
      headStartMs: readHeadStartMs(fn, event),
      ...(request.batchId === undefined ? {} : { batchId: request.batchId }),
      ...(request.cron === undefined ? {} : { cron: request.cron }),
      ...(singletonKey === undefined ? {} : { singletonKey }),
      ...(throttleKey === undefined ? {} : { throttleKey }),
    });
  }

  /** Sets up what may cancel the run; the real server does so for runs of one event only. */
  function watch(run: Run): void {
    const { fn } = run;
    if (fn.cancelOn.length > 0) waitResolver.watchForCancellation(run);
    if (fn.startTimeoutMs === undefined) return;
    const isStarted = () => run.startedAtMs !== undefined;
    waitResolver.cancelAt(run, now() + fn.startTimeoutMs, "start timeout reached", isStarted);
  }

  return {
    start(request) {
      const { fn, events } = request;
      const [trigger] = events;
      if (trigger === undefined) return;
      const candidate: StartCandidate = {
        request,
        trigger,
        event: eventMap(trigger.event),
        key: `${fn.id} ${request.idempotencyKey}`,
      };
      const verdict = gate.pass(candidate);
      if (!verdict.isOpen) return;
      const { singletonKey } = verdict;
      const run = createRun(candidate, singletonKey);
      gate.remember(candidate, run);
      if (singletonKey !== undefined) singletons.hold(singletonKey, run);
      for (const { internalId } of events) decisions.addRun(internalId, run);
      if (request.batchId === undefined) watch(run);
      decisions.record(events, {
        function: fn.slug,
        outcome: "started",
        reason: `run ${run.id}`,
        runId: run.id,
      });
      journal.record("debug", "run.queued", {
        function: fn.slug,
        runId: run.id,
        run: run.ordinal,
        name: trigger.event.name,
      });
      queue.enqueue({
        id: "start",
        kind: "start",
        run,
        atMs: request.batchId === undefined ? Math.max(trigger.event.ts, now()) : now(),
      });
    },
  };
}
