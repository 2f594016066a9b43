import { silentLogger, type LogFields, type Logger } from "./logger.ts";
import { redactValue } from "./redaction.ts";

/** The loggers whose lines need no further redaction. */
const redactingLoggers = new WeakSet<Logger>([silentLogger]);

/**
 * Returns a logger whose fields are redacted before they reach the target. One that was made here is returned as it
 * is, so each part of a composition may ask for it.
 */
export function redactingLogger(target: Logger): Logger {
  if (redactingLoggers.has(target)) return target;
  const logger: Logger = {
    debug: (event, fields) => target.debug(event, redactFields(fields)),
    info: (event, fields) => target.info(event, redactFields(fields)),
    warn: (event, fields) => target.warn(event, redactFields(fields)),
    error: (event, fields) => target.error(event, redactFields(fields)),
  };
  redactingLoggers.add(logger);
  return logger;
}

function redactFields(fields: LogFields | undefined): LogFields | undefined {
  if (fields === undefined) return undefined;
  const clean = redactValue(fields);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- an object stays one, unless it cannot be read
  return typeof clean === "object" ? (clean as LogFields) : { fields: clean };
}
