import type { CallFault, Faults } from "./fault/faults.ts";
import type { Journal } from "./journal.ts";
import type { Random } from "./time/random.ts";
import type { TimerQueue } from "./time/timer-queue.ts";
import { signBody } from "./transport/signature.ts";
import { type AppResponse, type AppRequest, TransportError } from "./transport/transport.ts";
import { retryDelayMs } from "./call/backoff.ts";
import { type CallResponse, failure, readCallResponse } from "./call/call-response.ts";
import { buildCallBody } from "./call/call-request.ts";
import type { Finalizer } from "./run/finalizer.ts";
import type { Job } from "./queue/job.ts";
import type { JobQueue } from "./queue/job-queue.ts";
import { type OpcodeHandler, checkStepLimit } from "./step/opcode-handler.ts";
import { type Run, isEnded, memoizeStep } from "./run/run.ts";
import { toStandardError } from "./run/run-error.ts";
import type { StepSettler } from "./step/step-settler.ts";
import type { WaitResolver } from "./step/wait-resolver.ts";

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
  /** Forgets all that is under way: responses that still come are ignored, and count against `maxCalls` until then. */
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
  waitResolver: WaitResolver;
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
  send: (run: Run, request: AppRequest) => Promise<AppResponse>;
}): Executor {
  const { queue, timers, opcodes, settler, finalizer, journal, now } = deps;
  const calls = new Map<Job, { readonly sinceMs: number }>();
  /** Calls of before a restart: their responses are ignored, and the app is still at work on them. */
  const abandoned: typeof calls = new Map();
  let epoch = 0;
  let isPumping = false;
  let idleResolvers: (() => void)[] = [];

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
    const fault = deps.faults.faultFor({
      functionId: run.fn.slug,
      step: plannedStepName(job),
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
    deps.waitResolver.cancelAt(run, now() + timeoutMs, "finish timeout reached");
  }

  async function carryOut(job: Job, fault: CallFault, startedIn: number): Promise<void> {
    const attempt = job.attempt;
    let response: CallResponse;
    try {
      const raw = await sendUnder(fault, job.run, buildRequest(job));
      response = readCallResponse(raw, now(), deps.fromMachine);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (!(error instanceof TransportError)) {
        journal.record("error", "engine.fault", { runId: job.run.id, error: message });
      }
      response = failure(message, undefined);
    }
    try {
      if (startedIn === epoch) await apply(job, attempt, response);
    } finally {
      abandoned.delete(job);
      if (calls.delete(job)) queue.release(job);
      pump();
    }
  }

  async function sendUnder(fault: CallFault, run: Run, request: AppRequest): Promise<AppResponse> {
    const sent = [deps.send(run, request), ...(fault.isSentTwice ? [deps.send(run, request)] : [])];
    const [response] = await Promise.all(sent);
    if (response === undefined || fault.isResponseDropped) {
      throw new TransportError("Your server closed the request before finishing.");
    }
    return response;
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

  async function apply(job: Job, attempt: number, response: CallResponse): Promise<void> {
    const { run } = job;
    if (isEnded(run)) {
      journal.record("debug", "response.ignored", { function: run.fn.slug, runId: run.id });
      return;
    }
    switch (response.kind) {
      case "result":
        finalizer.finalize(run, { status: "Completed", output: response.output });
        return;
      case "error":
        handleError(job, attempt, response);
        return;
      case "ops": {
        const outcome = await opcodes.handle({ ...job, attempt }, response);
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
    response: Extract<CallResponse, { kind: "error" }>,
  ): void {
    const { run } = job;
    if (response.error !== undefined) {
      journal.record("warn", "app.failed", {
        app: run.fn.appName,
        url: run.fn.url,
        function: run.fn.slug,
        runId: run.id,
        reason: response.error.message,
      });
    }
    if (!response.isFinal && attempt + 1 < run.fn.maxAttempts) {
      retry(job, attempt, response.retryAtMs, response.error?.message ?? response.message);
      return;
    }
    finalizer.finalize(run, {
      status: "Failed",
      error: response.error ?? toStandardError(response.output, response.message),
      ...(response.output === undefined ? {} : { output: response.output }),
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

/** The name of the planned step that a job runs, where its run knows it. */
function plannedStepName(job: Job): string | undefined {
  return job.stepId === undefined ? undefined : job.run.steps.get(job.stepId)?.name;
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
