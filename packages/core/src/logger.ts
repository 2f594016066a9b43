/** Fields of a log event: small structured values. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Where Evenkeel's packages report what they do: an event name with fields, as in
 * `logger.info("dispatch.claimed", { dispatchKey })`. A pino logger fits through
 * {@link fieldsFirst}; without a logger the packages write to the console. What they write is redacted first.
 */
export interface Logger {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

/** A logger that drops everything, for tests and for hosts that must be silent. */
export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
};

/** The shape of loggers that take the fields before the message, as pino does. */
export interface FieldsFirstLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Adapts a logger that takes its fields first (pino, bunyan) to {@link Logger}. */
export function fieldsFirst(target: FieldsFirstLogger): Logger {
  return {
    debug: (event, fields) => target.debug({ ...fields }, event),
    info: (event, fields) => target.info({ ...fields }, event),
    warn: (event, fields) => target.warn({ ...fields }, event),
    error: (event, fields) => target.error({ ...fields }, event),
  };
}
