import type { SqlClient } from "./database.ts";
import { LedgerError } from "./ledger-error.ts";

// It writes only where there is no mark. Of two hosts that come at once, the second waits for the first and reads its mark.
const markStatement = `
WITH marked AS (
  INSERT INTO evenkeel.background_environment AS mark (environment)
  SELECT $1::text WHERE NOT EXISTS (SELECT FROM evenkeel.background_environment)
  ON CONFLICT (id) DO UPDATE SET environment = mark.environment
  RETURNING environment
)
SELECT environment FROM marked
UNION ALL
SELECT environment FROM evenkeel.background_environment
LIMIT 1`;

/**
 * Marks a ledger that has no mark with this environment.
 *
 * @throws LedgerError `wrong_environment` when it is another's.
 */
export async function markEnvironment(sql: SqlClient, environment: string): Promise<void> {
  const [row] = await sql.query<{ environment: string }>(markStatement, [environment]);
  checkEnvironment(row?.environment, environment);
}

/** Reads the environment of a ledger; `undefined`: it has no mark, or its schema is older than marks. */
export async function readEnvironmentMark(sql: SqlClient): Promise<string | undefined> {
  const [found] = await sql.query<{ marks: boolean }>(
    `SELECT to_regclass('evenkeel.background_environment') IS NOT NULL AS marks`,
  );
  if (found?.marks !== true) return undefined;
  const [row] = await sql.query<{ environment: string }>(
    `SELECT environment FROM evenkeel.background_environment`,
  );
  return row?.environment;
}

/** @throws LedgerError `wrong_environment` unless the mark is this environment's, or there is none. */
export function checkEnvironment(marked: string | undefined, environment: string): void {
  if (marked === undefined || marked === environment) return;
  throw new LedgerError(
    "wrong_environment",
    `This ledger belongs to the environment "${marked}", and this host is of "${environment}". Give the host a database of its own (DATABASE_URL), or set its INNGEST_ENV. Where the mark is wrong, as in a copy of a database, an operator changes it: SELECT evenkeel.change_environment('${environment.replaceAll("'", "''")}', '<your name>').`,
    { marked, environment },
  );
}

/** Gives the ledger to another environment, audited; see `OperatorLedger.changeEnvironment`. */
export async function changeEnvironment(
  sql: SqlClient,
  actor: string,
  environment: string,
  reason: string | undefined,
): Promise<string | null> {
  const [row] = await sql.query<{ previous: string | null }>(
    `SELECT evenkeel.change_environment($1::text, $2::text, $3::text) AS previous`,
    [environment, actor, reason ?? null],
  );
  return row?.previous ?? null;
}
