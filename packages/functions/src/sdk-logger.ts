import type { LogFields, Logger } from "@evenkeel/core";

/** The logger that the Inngest SDK calls: fields before the message, or a message alone. */
export interface SdkLogger {
  debug(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
}

/** Adapts a {@link Logger} to the SDK. Its lines become `inngest.sdk` events with the message as a field. */
export function toSdkLogger(logger: Logger): SdkLogger {
  return {
    debug: (...values) => logger.debug("inngest.sdk", toFields(values)),
    info: (...values) => logger.info("inngest.sdk", toFields(values)),
    warn: (...values) => logger.warn("inngest.sdk", toFields(values)),
    error: (...values) => logger.error("inngest.sdk", toFields(values)),
  };
}

function toFields(values: readonly unknown[]): LogFields {
  const [first, ...others] = values;
  const bound = typeof first === "object" && first !== null && !(first instanceof Error);
  const parts = (bound ? others : values).map(describe);
  return { ...(bound ? describeErrors(first) : {}), message: parts.join(" ") };
}

/** An error's own fields are not enumerable: its message would be lost. */
function describeErrors(fields: object): LogFields {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      value instanceof Error ? `${value.name}: ${value.message}` : value,
    ]),
  );
}

function describe(value: unknown): string {
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
}
