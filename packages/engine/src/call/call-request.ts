import type { EngineEvent } from "../event/event.ts";
import type { Job } from "../queue/job.ts";
import type { Run } from "../run/run.ts";

/** The largest body that the server sends; beyond it the app fetches the state itself. */
const maxBodyBytes = 4 * 1024 * 1024;

/** A call request as the SDK reads it. */
export interface CallBody {
  readonly event: EngineEvent | undefined;
  readonly events: readonly EngineEvent[];
  readonly steps: Readonly<Record<string, unknown>>;
  readonly ctx: Readonly<Record<string, unknown>>;
  readonly version: number;
  readonly use_api: boolean;
  readonly defers: Readonly<Record<string, never>>;
}

/** Builds the body of the request that a job stands for. */
export function buildCallBody(job: Job, requestId: string): { body: CallBody; text: string } {
  const { run } = job;
  const usesApi = run.stateBytes > maxBodyBytes - 1_024;
  const body = assembleBody(job, requestId, usesApi);
  const text = JSON.stringify(body);
  if (usesApi || text.length <= maxBodyBytes) return { body, text };
  const small = { ...assembleBody(job, requestId, true), events: [] };
  return { body: small, text: JSON.stringify(small) };
}

function assembleBody(job: Job, requestId: string, usesApi: boolean): CallBody {
  const { run } = job;
  const events = run.events.map((stored) => stored.event);
  const stackIndex = job.fromStepId === undefined ? 0 : run.stack.indexOf(job.fromStepId) + 1;
  return {
    event: events[0],
    events,
    steps: usesApi ? {} : memoizedSteps(run),
    defers: {},
    ctx: {
      fn_id: run.fn.id,
      run_id: run.id,
      env: "",
      step_id: "step",
      attempt: job.attempt,
      max_attempts: run.fn.maxAttempts,
      stack: { stack: run.stack, current: stackIndex },
      qi_id: `${run.id}:${job.id}`,
      request_id: requestId,
      generation_id: job.generation,
      job_id: job.id,
      disable_immediate_execution: job.isPlanning,
      use_api: usesApi,
    },
    version: run.requestVersion,
    use_api: usesApi,
  };
}

/** The memoised steps by hashed id, in the form that the SDK and the runs API read. */
export function memoizedSteps(run: Run): Record<string, unknown> {
  return Object.fromEntries(run.stack.map((stepId) => [stepId, run.memo.get(stepId) ?? null]));
}
