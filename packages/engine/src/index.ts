export { createEngine, type Engine, type EngineAddress } from "./engine.ts";
export type { EngineOptions } from "./engine-options.ts";
export { EngineStalledError, UnknownFunctionError } from "./engine-error.ts";
export type {
  EngineView,
  EventSummary,
  Explanation,
  RunFilter,
  RunSummary,
} from "./engine-view.ts";
export { EventRefusedError, type EngineEvent, type EventInput } from "./event/event.ts";
export type { CallFilter, Duration, FaultControls } from "./fault/faults.ts";
export type { JournalEntry } from "./journal.ts";
export type { Json, JsonObject } from "./json.ts";
export { type Logger, silentLogger } from "./logger.ts";
export { ProductionRefusedError } from "./production-guard.ts";
export type { RunStatus, StepRecord, StepStatus } from "./run/run.ts";
export type { Decision, Outcome } from "./schedule/decision.ts";
export { type Clock, type VirtualClockOptions, realClock, virtualClock } from "./time/clock.ts";
export { type Random, seededRandom } from "./time/random.ts";
export { type Handler, TransportError } from "./transport/transport.ts";
