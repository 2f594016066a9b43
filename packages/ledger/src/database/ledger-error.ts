import { EvenkeelError, type ErrorData } from "@evenkeel/core";

/** What can go wrong between Evenkeel and its database. */
export type LedgerErrorCode =
  | "invalid_database_url"
  | "invalid_options"
  | "unreachable"
  | "unanswered"
  | "closed"
  | "not_migrated"
  | "not_granted"
  | "migration_failed"
  | "migration_edited"
  | "newer_database"
  | "wrong_environment"
  | "invalid_actor"
  | "invalid_retention"
  | "invalid_limit"
  | "invalid_result";

/** A failure of the ledger. `data` names what was tried, never credentials. */
export class LedgerError extends EvenkeelError<LedgerErrorCode> {
  override readonly name = "LedgerError";

  constructor(
    code: LedgerErrorCode,
    message: string,
    data: ErrorData = {},
    options?: { readonly cause?: unknown },
  ) {
    super(code, message, data, options);
  }
}

// Node's connection errors, and Postgres' classes 08 (connection), 57P (shutdown) and 53300 (too many).
const unreachableCodes = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EPIPE",
  "ETIMEDOUT",
  "57P01",
  "57P02",
  "57P03",
  "53300",
]);

const unreachableMessages =
  /connection terminated|timeout exceeded when trying to connect|client has encountered a connection error|connection ended unexpectedly/i;

/**
 * Whether an error means that the database could not be asked, or did not answer, so that asking later may work. What
 * was not answered may have been carried out.
 */
export function isUnreachable(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isUnreachable);
  if (!(error instanceof Error)) return false;
  const code = "code" in error ? String(error.code) : "";
  if (code === "unreachable" || code === "unanswered") return true;
  if (unreachableCodes.has(code) || /^08...$/u.test(code)) return true;
  return unreachableMessages.test(error.message) || isUnreachable(error.cause);
}

/**
 * Whether Postgres refused a statement for the values in it: text that it cannot store (class 22), a constraint (23), a
 * limit of its own (54). A statement with other values may be carried out at once.
 */
export function isRefusedValue(error: unknown): boolean {
  return (
    error instanceof Error && "code" in error && /^(?:22|23|54)\w{3}$/u.test(String(error.code))
  );
}

/**
 * Returns why Postgres takes no writes of this user, in words without values: its transactions are read-only, or the
 * user has no right to. `undefined`: the error says nothing of the kind.
 */
export function describeWriteRefusal(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const code = "code" in error ? String(error.code) : "";
  if (code === "25006") return "its transactions are read-only";
  if (code === "not_granted") return "the database user has no right to";
  return describeWriteRefusal(error.cause);
}

// A table, a sequence, a schema, a type or a function that is not there; and a column, which only an older schema lacks.
const missingCodes = new Set(["42P01", "3F000", "42704", "42883"]);
const missingColumn = "42703";
const denied = "42501";

/** The error of a database without the ledger's tables, or without what the named migrations bring. */
export function notMigrated(
  details: { readonly pending?: readonly string[]; readonly cause?: unknown } = {},
): LedgerError {
  const { pending, cause } = details;
  const missing = pending === undefined ? "" : ` Not applied: ${pending.join(", ")}.`;
  return new LedgerError(
    "not_migrated",
    `The ledger's tables in the schema "evenkeel" are missing or of an older version. Call migrate(), or run "prisma migrate deploy".${missing}`,
    pending === undefined ? {} : { pending },
    cause === undefined ? undefined : { cause },
  );
}

const notReadyCodes: ReadonlySet<string> = new Set([
  "not_migrated",
  "not_granted",
  "newer_database",
  "wrong_environment",
  // Postgres: there is no such database; a policy, or a right that explainRefusal leaves as it is.
  "3D000",
  denied,
]);

/**
 * Whether the database answered that this build cannot work on it: its tables are missing, of a schema that the build
 * cannot use, not granted, or of another environment. Asking again helps once somebody has changed that.
 */
export function isNotReady(error: unknown): boolean {
  return error instanceof Error && "code" in error && notReadyCodes.has(String(error.code));
}

/**
 * Returns what to throw for a statement of the ledger that failed: with the cause, LedgerError `not_migrated` where
 * what it names does not exist, and `not_granted` where the user may not use it. Any other error is returned itself.
 */
export function explainRefusal(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { message } = error;
  // Prisma has the code of Postgres in its message.
  const code = /Code: `(\w{5})`/u.exec(message)?.[1] ?? ("code" in error ? String(error.code) : "");
  if (code === missingColumn || (missingCodes.has(code) && message.includes("evenkeel"))) {
    return notMigrated({ cause: error });
  }
  // The policies of row-level security refuse with the same code.
  if (code !== denied || message.includes("row-level security")) return error;
  return new LedgerError(
    "not_granted",
    `The database user may not use the ledger's tables. Run SELECT evenkeel.grant_to('<user>') as their owner; checkGrants() says what is missing.`,
    {},
    { cause: error },
  );
}
