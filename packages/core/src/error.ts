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

/** Returns an error's message, or the text of whatever else was thrown. It may hold secrets: redact it before it is stored. */
export function describeMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
