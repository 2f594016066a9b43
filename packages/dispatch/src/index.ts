export {
  decideMode,
  parseBackgroundConfig,
  servesFunctions,
  type BackgroundConfig,
  type ConfigOptions,
  type EffectiveMode,
} from "./background-config.ts";
export { createCronHandler, type CronHandlerOptions } from "./http/cron-handler.ts";
export { DispatchError, type DispatchErrorCode } from "./dispatch-error.ts";
export {
  formatDispatchKey,
  formatEventId,
  scopeOf,
  type DispatchTarget,
  type EventIdentity,
} from "./schedule/dispatch-key.ts";
export { computeWindow, type DispatchWindow } from "./schedule/dispatch-window.ts";
export {
  createDispatcher,
  type DispatchLimits,
  type Dispatcher,
  type DispatcherOptions,
} from "./dispatcher/dispatcher.ts";
export type {
  HandshakeEvidence,
  ProcessEvidence,
  SendFailure,
  ServerFunction,
  ServerRun,
  ServerView,
} from "./handshake/evidence.ts";
export {
  createHandshakeWatch,
  type HandshakeReport,
  type HandshakeWatch,
  type HandshakeWatchOptions,
} from "./handshake/handshake-watch.ts";
export { rankSuspects, type Suspect, type SuspectCause } from "./handshake/suspects.ts";
export {
  createHandshakeStarter,
  type HandshakeStarter,
  type HandshakeStarterOptions,
} from "./dispatcher/handshake-starter.ts";
export type { InlineRequest, RunInline } from "./dispatcher/inline-fallback.ts";
export type { DispatchRequest, OutgoingEvent } from "./dispatcher/prepared-dispatch.ts";
export {
  createNudge,
  type Nudge,
  type NudgeOptions,
  type NudgeOutcome,
} from "./dispatcher/nudge.ts";
export {
  createOutboxRelay,
  type OutboxRelay,
  type OutboxRelayOptions,
  type RelayRunOptions,
  type RelayedEvent,
  type RelayReport,
} from "./maintenance/outbox-relay.ts";
export {
  createReconciler,
  type Reconciler,
  type ReconcileReport,
  type ReconcilerOptions,
} from "./maintenance/reconciler.ts";
export {
  createRedriver,
  type Redriver,
  type RedriverOptions,
  type RedriveReport,
  type RedriveRequest,
} from "./maintenance/redriver.ts";
export { createReceiptHandler, type ReceiptHandlerOptions } from "./http/receipt-handler.ts";
export { receiptStatus, type DispatchMode, type Receipt } from "./dispatcher/receipt.ts";
export { createFanOut, type FanOutOptions } from "./fan-out/fan-out.ts";
export {
  defineSchedule,
  type CatchUp,
  type Schedule,
  type ScheduleOptions,
} from "./schedule/schedule.ts";
export type {
  ScheduleStart,
  StartEvent,
  StartJob,
  StartWindow,
  TenantPage,
} from "./schedule/schedule-start.ts";
export {
  createWatchdog,
  type Watchdog,
  type WatchdogOptions,
  type WatchdogReport,
} from "./maintenance/watchdog.ts";
export {
  parseSwitch,
  readVariable,
  switchProblem,
  type ConfigProblem,
  type Environment,
} from "./variables.ts";
