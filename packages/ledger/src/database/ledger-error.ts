import { EvenkeelError, type ErrorData } from "@evenkeel/core";

/** What can go wrong between Evenkeel and its database. */
export type LedgerErrorCode =
  | "invalid_database_url"
  | "unreachable"
  | "not_migrated"
  | "migration_failed"
  | "migration_edited"
  | "newer_database"
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

/** Whether an error means that the database could not be asked at all, so that asking later may work. */
export function isUnreachable(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isUnreachable);
  if (!(error instanceof Error)) return false;
  const code = "code" in error ? String(error.code) : "";
  if (code === "unreachable" || unreachableCodes.has(code) || /^08...$/u.test(code)) return true;
  return unreachableMessages.test(error.message) || isUnreachable(error.cause);
}
