import type { Backoff } from "../call/backoff.ts";
import type { CallResponse } from "../call/call-response.ts";
import type { Journal } from "../journal.ts";
import type { JobQueue } from "../queue/job-queue.ts";
import type { Job } from "../queue/job.ts";
import type { Finalizer } from "../run/finalizer.ts";
import { toStandardError } from "../run/run-error.ts";
import { isEnded } from "../run/run.ts";
import type { OpcodeHandler } from "./opcode-handler.ts";

/** Does what an app's response to a call asks for: the run continues, ends, or its call is tried again. */
export interface ResponseHandler {
  /** Handles the response to the given zero-based attempt; one to a run that has ended is ignored. */
  handle(job: Job, attempt: number, response: CallResponse): Promise<void>;
}

/** Creates a {@link ResponseHandler}; `backoff` says when a failure is tried again. */
export function createResponseHandler(deps: {
  queue: JobQueue;
  opcodes: OpcodeHandler;
  finalizer: Finalizer;
  journal: Journal;
  now: () => number;
  backoff: Backoff;
}): ResponseHandler {
  const { queue, opcodes, finalizer, journal, now, backoff } = deps;

  function retry(job: Job, attempt: number, retryAtMs: number | undefined, reason: string): void {
    const atMs = retryAtMs ?? now() + backoff(attempt);
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

  return {
    async handle(job, attempt, response) {
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
    },
  };
}

function stepName(job: Job): string | undefined {
  return job.stepId === undefined ? undefined : (job.run.steps.get(job.stepId)?.name ?? job.stepId);
}
