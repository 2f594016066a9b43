import type { AttemptError } from "@evenkeel/ledger";

/** How many causes of an error are told. */
const maxCauses = 5;

/**
 * What is recorded of a thrown value, whatever it is. Pure, and never throws. The ledger bounds it and takes
 * credentials out.
 */
export function describeError(error: unknown): AttemptError {
  try {
    if (!(error instanceof Error)) return { code: "thrown_value", message: describeValue(error) };
    // Fields of an error can hold anything: libraries put objects and numbers there.
    const code =
      "code" in error && typeof error.code === "string" ? error.code : describeValue(error.name);
    const causes = readCauses(error);
    const stack = [
      typeof error.stack === "string" ? error.stack : "",
      ...causes.map((cause) => `caused by ${cause}`),
    ].join("\n");
    const message = describeValue(error.message);
    // Node reports a refused connection as an AggregateError without a message.
    return { code, message: message === "" ? (causes[0] ?? code) : message, stack };
  } catch {
    return { code: "thrown_value", message: "A value that cannot be described was thrown." };
  }
}

function readCauses(error: Error): string[] {
  const causes: string[] = [];
  const queue: unknown[] = listCauses(error);
  while (queue.length > 0 && causes.length < maxCauses) {
    const cause = queue.shift();
    if (cause instanceof Error) {
      causes.push(`${describeValue(cause.name)}: ${describeValue(cause.message)}`);
      queue.push(...listCauses(cause));
    } else causes.push(describeValue(cause));
  }
  return causes;
}

function listCauses(error: Error): unknown[] {
  const parts: unknown[] = error instanceof AggregateError ? error.errors.slice(0, maxCauses) : [];
  return error.cause === undefined ? parts : [...parts, error.cause];
}

function describeValue(value: unknown): string {
  try {
    return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  } catch {
    return "A value without a JSON form.";
  }
}
