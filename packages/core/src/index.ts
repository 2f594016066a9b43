export { allBuckets, bucketCount, bucketOf, type BucketRange } from "./bucket.ts";
export {
  consoleLogger,
  createConsoleLogger,
  resolveLogger,
  type ConsoleLoggerOptions,
  type LogLevel,
} from "./console-logger.ts";
export { systemClock, type Clock } from "./clock.ts";
export { DeadlineExceededError, withDeadline } from "./deadline.ts";
export { describeMessage, EvenkeelError, type ErrorData } from "./error.ts";
export { InputError, type InputErrorCode } from "./input-error.ts";
export { lanes, type Lane } from "./lane.ts";
export {
  fieldsFirst,
  silentLogger,
  type FieldsFirstLogger,
  type LogFields,
  type Logger,
} from "./logger.ts";
export {
  defined,
  describeIssues,
  encodePayload,
  jsonValueSchema,
  maxPayloadBytes,
  storableText,
  type DefinedFields,
  type JsonValue,
} from "./payload.ts";
export { redactingLogger } from "./redacting-logger.ts";
export { redactText, redactValue } from "./redaction.ts";
export { maxTenantIdLength, parseTenantId, tenantIdSchema } from "./tenant.ts";
