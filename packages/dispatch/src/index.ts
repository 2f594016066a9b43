export {
  parseBackgroundConfig,
  type BackgroundConfig,
  type ConfigOptions,
  type ConfigProblem,
  type Environment,
} from "./background-config.ts";
export { createCronHandler, type CronHandlerOptions } from "./cron-handler.ts";
export { DispatchError, type DispatchErrorCode } from "./dispatch-error.ts";
export {
  formatDispatchKey,
  formatEventId,
  scopeOf,
  type DispatchTarget,
  type EventIdentity,
} from "./dispatch-key.ts";
export { computeWindow, type DispatchWindow } from "./dispatch-window.ts";
export {
  createDispatcher,
  type Dispatcher,
  type DispatcherOptions,
  type DispatchRequest,
  type InlineRequest,
  type OutgoingEvent,
} from "./dispatcher.ts";
export { createNudge, type Nudge, type NudgeOptions, type NudgeOutcome } from "./nudge.ts";
export {
  createOutboxRelay,
  type OutboxRelay,
  type OutboxRelayOptions,
  type RelayedEvent,
  type RelayReport,
} from "./outbox-relay.ts";
export {
  createReconciler,
  type Reconciler,
  type ReconcileReport,
  type ReconcilerOptions,
} from "./reconciler.ts";
export {
  createRedriver,
  type Redriver,
  type RedriverOptions,
  type RedriveReport,
  type RedriveRequest,
} from "./redriver.ts";
export { createReceiptHandler, type ReceiptHandlerOptions } from "./receipt-handler.ts";
export { receiptStatus, type DispatchMode, type Receipt } from "./receipt.ts";
export { defineSchedule, type CatchUp, type Schedule, type ScheduleOptions } from "./schedule.ts";
export {
  createWatchdog,
  type Watchdog,
  type WatchdogOptions,
  type WatchdogReport,
} from "./watchdog.ts";
