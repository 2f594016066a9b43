export {
  createBackground,
  type Background,
  type BackgroundOptions,
  type ServedFunctions,
  type StartOptions,
} from "./background.ts";
export type {
  BackgroundPartsOptions,
  BackgroundPool,
  BackgroundResources,
  ConfigSource,
  FunctionResources,
  FunctionSettings,
  MaintenanceSettings,
} from "./background-options.ts";
export type { BackgroundParts } from "./background-parts.ts";
export type { BackgroundRoutes } from "./background-routes.ts";
export { createBackgroundClient, type BackgroundClientOptions } from "./background-client.ts";
export {
  createBackgroundFunctions,
  type BackgroundFunctionsOptions,
} from "./background-functions.ts";
export {
  createDeadLetterFunction,
  type DeadLetterFunctionOptions,
  type DeadLetterOutcome,
} from "./dead-letter-function.ts";
export {
  functionPolicies,
  type ConcurrencyPolicy,
  type FunctionName,
  type FunctionPolicy,
  type PolicySettings,
} from "./function-policy.ts";
export type { HostRegistrar } from "./handshake/host-registrar.ts";
export type { ServedCall } from "./handshake/observations.ts";
export { createEventSender, createOutboxSender, type EventSender } from "./event-sender.ts";
export {
  guarded,
  type GuardedContext,
  type GuardedOptions,
  type GuardedSteps,
  type GuardedTrigger,
  type GuardedWindow,
} from "./guarded-function.ts";
export {
  createRequestRuns,
  createIsolatedJobFunction,
  type IsolatedJobFunctionOptions,
  type IsolatedJobOutcome,
} from "./isolated-job-function.ts";
export {
  createMaintenanceFunction,
  type MaintenanceFunctionOptions,
  type MaintenanceOutcome,
} from "./maintenance-function.ts";
export {
  createProcessFunction,
  type ProcessFunctionOptions,
  type ProcessOutcome,
} from "./process-function.ts";
export { type SkippedDuplicate } from "./runs/run-outcome.ts";
export { createRunRecorder, type RunRecorderOptions } from "./runs/run-recorder.ts";
