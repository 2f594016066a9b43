export {
  RetryAfterError,
  SnoozeError,
  TerminalError,
  type AttemptErrorCode,
} from "./attempt-error.ts";
export { systemClock, type Clock } from "./clock.ts";
export { enqueue, enqueueMany, type EnqueueInput } from "./enqueue.ts";
export type { EffectCall, EffectOptions, EffectResult, JobEffects } from "./job-effects.ts";
export { defineJob, type JobDefinition, type JobOptions } from "./job-definition.ts";
export type { Isolate, IsolatedJob } from "./isolate.ts";
export { JobError, type JobErrorCode } from "./job-error.ts";
export {
  handleJob,
  type AttemptContext,
  type JobContext,
  type JobHandler,
  type PreparedAttempt,
} from "./job-handler.ts";
export { parseResult } from "./job-result.ts";
export {
  exponential,
  fixed,
  linear,
  type ExponentialOptions,
  type FixedOptions,
  type LinearOptions,
  type RetryPolicy,
} from "./retry-policy.ts";
export type { DrainReport } from "./drain-report.ts";
export { createRunner, type DrainOptions, type Runner, type RunnerOptions } from "./runner.ts";
