export {
  dispatchEventSchema,
  eventContracts,
  maintenanceRequested,
  parseEvent,
  processRequested,
  type DispatchEventData,
  type EventContract,
} from "./dispatch-events.ts";
export { EvenkeelError, type ErrorData } from "./error.ts";
export { EventError, type EventErrorCode } from "./event-error.ts";
export { jobRequested, jobRequestSchema, type JobRequestData } from "./job-events.ts";
export { lanes, type Lane } from "./lane.ts";
export {
  fieldsFirst,
  silentLogger,
  type FieldsFirstLogger,
  type LogFields,
  type Logger,
} from "./logger.ts";
export {
  describeIssues,
  encodePayload,
  jsonValueSchema,
  maxPayloadBytes,
  type JsonValue,
} from "./payload.ts";
export { maxTenantIdLength, parseTenantId, tenantIdSchema } from "./tenant.ts";
