import type { AppCaller } from "./call/app-caller.ts";
import type { CallFault, Faults } from "./fault/faults.ts";
import type { Journal } from "./journal.ts";
import type { JobQueue } from "./queue/job-queue.ts";
import type { Job } from "./queue/job.ts";
import type { Finalizer } from "./run/finalizer.ts";
import { type Run, memoizeStep } from "./run/run.ts";
import type { ResponseHandler } from "./step/response-handler.ts";
import { checkStepLimit } from "./step/step-limits.ts";
import type { StepSettler } from "./step/step-settler.ts";
import type { WaitResolver } from "./step/wait-resolver.ts";
import type { TimerQueue } from "./time/timer-queue.ts";

/** Takes jobs from the queue and carries them out, as many at once as allowed. */
export interface Executor {
  /** Runs due timers and starts ready jobs. Safe to call at any moment. */
  pump(): void;
  /** Whether nothing is under way and nothing can continue without time or an event. */
  isIdle(): boolean;
  /** Resolves when the executor is idle. */
  idle(): Promise<void>;
  /** The requests under way: which run, of which function, since when. */
  calls(): {
    readonly runId: string;
    readonly function: string;
    readonly generation: number;
    readonly sinceMs: number;
  }[];
  /** The job that a request belongs to, while it is under way. */
  findJob(runId: string, jobId: string): Job | undefined;
  /** Forgets all that is under way: responses that still come are ignored, and count against `maxCalls` until then. */
  abandon(): void;
}

/** Creates an {@link Executor} that has at most `maxCalls` requests under way. */
export function createExecutor(deps: {
  queue: JobQueue;
  timers: TimerQueue;
  caller: AppCaller;
  responses: ResponseHandler;
  settler: StepSettler;
  finalizer: Finalizer;
  waitResolver: WaitResolver;
  faults: Faults;
  journal: Journal;
  now: () => number;
  maxCalls: number;
}): Executor {
  const { queue, timers, caller, responses, settler, finalizer, now } = deps;
  const calls = new Map<Job, { readonly sinceMs: number }>();
  /** Calls of before a restart: their responses are ignored, and the app is still at work on them. */
  const abandoned: typeof calls = new Map();
  let epoch = 0;
  let isPumping = false;
  let idleResolvers: (() => void)[] = [];

  function start(job: Job): void {
    const { run } = job;
    // Before its sleep ends: the request that ends a group's last sleep still has the app plan.
    job.isPlanning = run.forceStepPlan;
    if (job.kind === "sleep" && job.attempt === 0 && !endSleep(job, settler)) {
      queue.release(job);
      return;
    }
    const overflow = checkStepLimit(run);
    if (overflow !== undefined) {
      queue.release(job);
      finalizer.finalize(run, { status: "Failed", error: overflow });
      return;
    }
    if (run.startedAtMs === undefined) markStarted(run, deps);
    job.generation += 1;
    const fault = deps.faults.faultFor({
      functionId: run.fn.slug,
      step: job.stepId === undefined ? undefined : run.steps.get(job.stepId)?.name,
      runId: run.id,
    });
    if (fault.delayMs === 0) {
      launch(job, fault);
      return;
    }
    const heldIn = epoch;
    timers.at(now() + fault.delayMs, () => {
      if (heldIn === epoch) launch(job, fault);
    });
  }

  function launch(job: Job, fault: CallFault): void {
    calls.set(job, { sinceMs: now() });
    void carryOut(job, fault, epoch);
  }

  async function carryOut(job: Job, fault: CallFault, startedIn: number): Promise<void> {
    const { attempt } = job;
    const response = await caller.call(job, fault);
    try {
      if (startedIn === epoch) await responses.handle(job, attempt, response);
    } finally {
      abandoned.delete(job);
      if (calls.delete(job)) queue.release(job);
      pump();
    }
  }

  function pump(): void {
    if (isPumping) return;
    isPumping = true;
    try {
      for (;;) {
        if (timers.runDue()) continue;
        if (calls.size + abandoned.size >= deps.maxCalls) break;
        const job = queue.take();
        if (job === undefined) break;
        start(job);
      }
    } finally {
      isPumping = false;
    }
    if (!isIdle() || idleResolvers.length === 0) return;
    const resolved = idleResolvers;
    idleResolvers = [];
    for (const resolve of resolved) resolve();
  }

  function isIdle(): boolean {
    return calls.size + abandoned.size === 0;
  }

  return {
    pump,
    isIdle,
    idle: () =>
      new Promise((resolve) => {
        idleResolvers.push(resolve);
        pump();
      }),
    calls: () =>
      [...calls, ...abandoned].map(([job, call]) => ({
        runId: job.run.id,
        function: job.run.fn.slug,
        generation: job.generation,
        sinceMs: call.sinceMs,
      })),
    findJob: (runId, jobId) =>
      [...calls.keys()].find((job) => job.run.id === runId && job.id === jobId),
    abandon() {
      epoch += 1;
      for (const [job, call] of calls) abandoned.set(job, call);
      calls.clear();
    },
  };
}

/** Memoises the sleep that a job ends; says whether its run continues now, or other steps of its batch are open. */
function endSleep(job: Job, settler: StepSettler): boolean {
  const { run, fromStepId } = job;
  if (fromStepId === undefined) return true;
  const { hasPending } = memoizeStep(run, fromStepId, null);
  const step = run.steps.get(fromStepId);
  if (step !== undefined) step.status = "completed";
  if (hasPending && !job.isRace) return false;
  settler.endPlanning(run);
  return true;
}

function markStarted(
  run: Run,
  deps: { waitResolver: WaitResolver; journal: Journal; now: () => number },
): void {
  run.startedAtMs = deps.now();
  run.status = "Running";
  deps.journal.record("info", "run.started", {
    function: run.fn.slug,
    runId: run.id,
    run: run.ordinal,
    waitedMs: run.startedAtMs - run.queuedAtMs,
  });
  const timeoutMs = run.fn.finishTimeoutMs;
  if (timeoutMs === undefined) return;
  deps.waitResolver.cancelAt(run, deps.now() + timeoutMs, "finish timeout reached");
}
