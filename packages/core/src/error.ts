/** Data that an {@link EvenkeelError} carries as fields: small values, never secrets or payloads. */
export type ErrorData = Readonly<Record<string, unknown>>;

/**
 * The one error base of the Evenkeel packages. `code` is from a closed set per subclass, `data` holds
 * the offending values, `cause` keeps the original. The message says what happened and the next step;
 * it never holds a secret or a payload.
 */
export abstract class EvenkeelError<Code extends string = string> extends Error {
  /** Written out in each class: a bundler that minifies shortens the name of the class itself. */
  abstract override readonly name: string;
  readonly code: Code;
  readonly data: ErrorData;

  protected constructor(
    code: Code,
    message: string,
    data: ErrorData = {},
    options?: { readonly cause?: unknown },
  ) {
    super(message, options);
    this.code = code;
    this.data = data;
  }
}

/** How many causes of an error are told. */
const maxCauses = 5;

/**
 * Returns an error's message and those of its causes, as `fetch failed: connect ECONNREFUSED 127.0.0.1:8288`, or the
 * text of whatever else was thrown. It never throws. It may hold secrets: loggers and the ledger redact it.
 */
export function describeMessage(error: unknown): string {
  try {
    const parts: string[] = [];
    const queue = [error];
    for (let told = 0; queue.length > 0 && told <= maxCauses; told += 1) {
      const next = queue.shift();
      const message = next instanceof Error ? next.message : String(next);
      // Many a message already ends with its cause's.
      if (message !== "" && !parts.some((part) => part.includes(message))) parts.push(message);
      if (next instanceof AggregateError) queue.push(...next.errors.slice(0, maxCauses));
      if (next instanceof Error && next.cause !== undefined) queue.push(next.cause);
    }
    return parts.length > 0 ? parts.join(": ") : String(error);
  } catch {
    return "A value that cannot be described was thrown.";
  }
}
