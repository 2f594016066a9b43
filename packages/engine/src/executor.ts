import type { CallFate, Faults } from "./fault/faults.ts";
import type { Journal } from "./journal.ts";
import type { Random } from "./time/random.ts";
import type { TimerQueue } from "./time/timer-queue.ts";
import { signBody } from "./transport/signature.ts";
import { type AppAnswer, type AppRequest, TransportError } from "./transport/transport.ts";
import { retryDelayMs } from "./call/backoff.ts";
import { type CallAnswer, failure, readCallAnswer } from "./call/call-response.ts";
import { buildCallBody } from "./call/call-request.ts";
import type { Finalizer } from "./run/finalizer.ts";
import type { Job } from "./queue/job.ts";
import type { JobQueue } from "./queue/job-queue.ts";
import { type OpcodeHandler, checkStepLimit } from "./step/opcode-handler.ts";
import { type Run, isEnded, memoizeStep } from "./run/run.ts";
import { toStandardError } from "./run/run-error.ts";
import type { StepSettler } from "./step/step-settler.ts";
import type { Waiter } from "./step/wait-resolver.ts";

/** Takes jobs from the queue and carries them out, as many at once as allowed. */
export interface Executor {
  /** Lets due timers and ready jobs go. Safe to call at any moment. */
  pump(): void;
  /** Whether nothing is under way and nothing can go on without time or an event. */
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
  /** Forgets all that is under way: answers that still come are ignored, and take up a place until then. */
  abandon(): void;
}

/** How long an app may take for one request, in milliseconds: two hours. */
const maxCallMs: number = 2 * 3_600_000;

/** Creates an {@link Executor}; `send` reaches the app that the run's function belongs to. */
export function createExecutor(deps: {
  queue: JobQueue;
  timers: TimerQueue;
  opcodes: OpcodeHandler;
  settler: StepSettler;
  finalizer: Finalizer;
  waiter: Waiter;
  journal: Journal;
  now: () => number;
  fromMachine: (timestampMs: number) => number;
  /** The machine's clock: an app checks a signature's age against its own. */
  machineNow: () => number;
  random: Random;
  nextId: () => string;
  maxCalls: number;
  signingKey: string | undefined;
  faults: Faults;
  send: (run: Run, request: AppRequest) => Promise<AppAnswer>;
}): Executor {
  const { queue, timers, opcodes, settler, finalizer, journal, now } = deps;
  const calls = new Map<Job, { readonly sinceMs: number }>();
  /** Calls of before a restart: nobody waits for their answers, and the app is still at work on them. */
  const abandoned: typeof calls = new Map();
  let epoch = 0;
  let isPumping = false;
  let waiters: (() => void)[] = [];

  function start(job: Job): void {
    const { run } = job;
    if (job.kind === "sleep" && job.attempt === 0 && job.fromStepId !== undefined) {
      const { hasPending } = memoizeStep(run, job.fromStepId, null);
      const step = run.steps.get(job.fromStepId);
      if (step !== undefined) step.status = "completed";
      if (hasPending && !job.isRace) {
        queue.release(job);
        return;
      }
      settler.endPlanning(run);
    }
    const overflow = checkStepLimit(run);
    if (overflow !== undefined) {
      queue.release(job);
      finalizer.finalize(run, { status: "Failed", error: overflow });
      return;
    }
    if (run.startedAtMs === undefined) markStarted(run);
    job.generation += 1;
    const fate = deps.faults.strikeCall(job);
    if (fate.delayMs === 0) {
      launch(job, fate);
      return;
    }
    const heldIn = epoch;
    timers.at(now() + fate.delayMs, () => {
      if (heldIn === epoch) launch(job, fate);
    });
  }

  function launch(job: Job, fate: CallFate): void {
    calls.set(job, { sinceMs: now() });
    void carryOut(job, fate, epoch);
  }

  function markStarted(run: Run): void {
    run.startedAtMs = now();
    run.status = "Running";
    journal.record("info", "run.started", {
      function: run.fn.slug,
      runId: run.id,
      run: run.ordinal,
      waitedMs: run.startedAtMs - run.queuedAtMs,
    });
    const timeoutMs = run.fn.finishTimeoutMs;
    if (timeoutMs === undefined) return;
    deps.waiter.cancelAt(run, now() + timeoutMs, "finish timeout reached");
  }

  async function carryOut(job: Job, fate: CallFate, startedIn: number): Promise<void> {
    const attempt = job.attempt;
    let answer: CallAnswer;
    try {
      const raw = await sendUnder(fate, job.run, buildRequest(job));
      answer = readCallAnswer(raw, now(), deps.fromMachine);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (!(error instanceof TransportError)) {
        journal.record("error", "engine.fault", { runId: job.run.id, error: message });
      }
      answer = failure(message, undefined);
    }
    try {
      if (startedIn === epoch) await apply(job, attempt, answer);
    } finally {
      abandoned.delete(job);
      if (calls.delete(job)) queue.release(job);
      pump();
    }
  }

  async function sendUnder(fate: CallFate, run: Run, request: AppRequest): Promise<AppAnswer> {
    const sent = [deps.send(run, request), ...(fate.isSentTwice ? [deps.send(run, request)] : [])];
    const [answer] = await Promise.all(sent);
    if (answer === undefined || fate.isAnswerDropped) {
      throw new TransportError("Your server closed the request before finishing.");
    }
    return answer;
  }

  function buildRequest(job: Job): AppRequest {
    const requestId = deps.nextId();
    const { body, text } = buildCallBody(job, requestId);
    const stepId = job.stepId ?? "step";
    return {
      method: "POST",
      url: withStepId(job.run.fn.url, stepId),
      headers: {
        "content-type": "application/json",
        "x-run-id": job.run.id,
        "x-request-id": requestId,
        "x-inngest-generation-id": String(job.generation),
        "x-inngest-job-id": job.id,
        "x-inngest-req-version": String(job.run.requestVersion),
        "x-inngest-step-id": stepId,
        ...(deps.signingKey === undefined
          ? {}
          : { "x-inngest-signature": signBody(body, deps.signingKey, deps.machineNow()) }),
      },
      body: text,
      timeoutMs: maxCallMs,
    };
  }

  async function apply(job: Job, attempt: number, answer: CallAnswer): Promise<void> {
    const { run } = job;
    if (isEnded(run)) {
      journal.record("debug", "answer.ignored", { function: run.fn.slug, runId: run.id });
      return;
    }
    switch (answer.kind) {
      case "result":
        finalizer.finalize(run, { status: "Completed", output: answer.output });
        return;
      case "error":
        handleError(job, attempt, answer);
        return;
      case "ops": {
        const outcome = await opcodes.handle({ ...job, attempt }, answer);
        if (outcome.kind === "retry") {
          retry(job, attempt, outcome.retryAtMs, outcome.message);
        } else if (outcome.kind === "fail") {
          finalizer.finalize(run, { status: "Failed", error: outcome.error });
        }
      }
    }
  }

  function handleError(
    job: Job,
    attempt: number,
    answer: Extract<CallAnswer, { kind: "error" }>,
  ): void {
    const { run } = job;
    if (answer.error !== undefined) {
      journal.record("warn", "app.failed", {
        app: run.fn.appName,
        url: run.fn.url,
        function: run.fn.slug,
        runId: run.id,
        reason: answer.error.message,
      });
    }
    if (!answer.isFinal && attempt + 1 < run.fn.maxAttempts) {
      retry(job, attempt, answer.retryAtMs, answer.error?.message ?? answer.message);
      return;
    }
    finalizer.finalize(run, {
      status: "Failed",
      error: answer.error ?? toStandardError(answer.output, answer.message),
      ...(answer.output === undefined ? {} : { output: answer.output }),
    });
  }

  function retry(job: Job, attempt: number, retryAtMs: number | undefined, reason: string): void {
    const atMs = retryAtMs ?? now() + retryDelayMs(attempt, deps.random);
    job.attempt = attempt + 1;
    journal.record("warn", "run.retrying", {
      function: job.run.fn.slug,
      runId: job.run.id,
      step: stepName(job),
      attempt: job.attempt,
      inMs: atMs - now(),
      reason,
    });
    queue.requeue(job, atMs);
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
    if (!isIdle() || waiters.length === 0) return;
    const resolved = waiters;
    waiters = [];
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
        waiters.push(resolve);
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

function stepName(job: Job): string | undefined {
  return job.stepId === undefined ? undefined : (job.run.steps.get(job.stepId)?.name ?? job.stepId);
}

function withStepId(url: string, stepId: string): string {
  if (stepId === "step" && url.endsWith("stepId=step")) return url;
  const parsed = new URL(url);
  parsed.searchParams.set("stepId", stepId);
  return parsed.href;
}
