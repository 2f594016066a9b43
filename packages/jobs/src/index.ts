export {
  RetryAfterError,
  SnoozeError,
  TerminalError,
  type AttemptErrorCode,
  type DelayOptions,
} from "./definition/attempt-error.ts";
export { systemClock, type Clock } from "@evenkeel/core";
export { enqueue, enqueueMany, type EnqueueInput } from "./enqueue.ts";
export {
  cancelJob,
  rescheduleJob,
  type CancelOptions,
  type JobReference,
  type RescheduleOptions,
} from "./job-changes.ts";
export type {
  EffectCall,
  EffectOptions,
  EffectResult,
  JobEffects,
} from "./definition/job-effects.ts";
export {
  defineJob,
  type AnyJobDefinition,
  type JobDefinition,
  type JobOptions,
} from "./definition/job-definition.ts";
export type {
  Debounce,
  JobUniqueOptions,
  UniqueKey,
  UniqueOptions,
  UniqueRule,
  UniqueScope,
} from "./definition/unique-option.ts";
export { upcaster } from "./definition/upcast.ts";
export type { RequestRuns, IsolatedJob } from "./runner/isolated-jobs.ts";
export { JobError, type JobErrorCode } from "./job-error.ts";
export {
  handleJob,
  type AttemptContext,
  type JobContext,
  type JobHandler,
  type PreparedAttempt,
} from "./definition/job-handler.ts";
export { parseResult } from "./definition/job-result.ts";
export {
  exponential,
  fixed,
  linear,
  type ExponentialOptions,
  type FixedOptions,
  type LinearOptions,
  type RetryPolicy,
} from "./definition/retry-policy.ts";
export {
  addDrainCounts,
  emptyDrainCounts,
  type DrainCounts,
  type DrainReport,
} from "./runner/drain-report.ts";
export type { DrainOptions } from "./runner/drain-options.ts";
export { createRunner, type Runner, type RunnerOptions } from "./runner/runner.ts";
