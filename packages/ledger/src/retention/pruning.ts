import type { SqlClient } from "../database/database.ts";
import { LedgerError } from "../database/ledger-error.ts";
import { resolveRetention } from "./resolved-retention.ts";
import type { RetentionChanges, RetentionPolicy } from "./retention-policy.ts";
import { cutoff, type RetentionRule } from "./retention-rules.ts";

/** What to delete, and how much of it in one call. */
export interface PruneRequest {
  /** Changes to the default ages. */
  readonly policy?: RetentionChanges;
  /**
   * The longest that a tick or a repair can come late, in milliseconds, defaults to 24 hours: at least the
   * reconciler's `maxAgeMs`. Rows that suppress repetitions stay for 24 hours and this.
   */
  readonly latenessMs?: number;
  /** Most rows deleted per table and status in one call: 1 to 1,000,000, 5,000 by default. */
  readonly limit?: number;
  /** Delete nothing and say what a call would delete. Defaults to `false`. */
  readonly dryRun?: boolean;
}

/** What a call did to the rows of one table and status. */
export interface PrunedRows {
  readonly table: keyof RetentionPolicy;
  readonly status: string;
  /** How long they are kept, in days. */
  readonly days: number;
  /** Rows deleted, or those that would be. */
  readonly deleted: number;
  /** Whether the batch was full, so that more of them may be old enough. */
  readonly more: boolean;
}

/** What a call deleted, or would delete. */
export interface PruneReport {
  readonly dryRun: boolean;
  /** Rows over all tables. */
  readonly deleted: number;
  readonly more: boolean;
  readonly rows: readonly PrunedRows[];
}

/** What deletes old rows: a ledger. */
export interface Prunable {
  /** Deletes a bounded batch per table and status. */
  prune(request?: PruneRequest): Promise<PruneReport>;
}

/** Returns the statement that finds the oldest rows of a rule: `$1` their age in seconds, `$2` how many at most. */
function findStatement({ relation, orderedBy, where }: RetentionRule, unless = ""): string {
  return `
  SELECT candidate.ctid FROM evenkeel.${relation} AS candidate
  WHERE candidate.${orderedBy} < ${cutoff} AND ${where}${unless}
  ORDER BY candidate.${orderedBy}
  LIMIT $2::int`;
}

/** Returns the statement that counts what {@link deleteStatement} would delete. */
export function countStatement(rule: RetentionRule): string {
  return `SELECT count(*)::int AS deleted FROM (${findStatement(rule)}
) AS found`;
}

/**
 * Returns the statement that deletes a batch. It waits for nobody and holds its locks for the one statement. A row
 * that changed in between is looked at again under the lock, so a window that was claimed meanwhile stays.
 */
export function deleteStatement(rule: RetentionRule): string {
  return `
WITH deleted AS (
  -- An array of addresses and not a join: each row is fetched once, whatever the estimates say.
  DELETE FROM evenkeel.${rule.relation} WHERE ctid = ANY (ARRAY(${findStatement(rule, rule.unless && `\n  AND ${rule.unless}`)}
  FOR UPDATE OF candidate SKIP LOCKED
  ))
  RETURNING 1
)
SELECT count(*)::int AS deleted FROM deleted`;
}

/**
 * Deletes rows that are older than their status is kept, a bounded batch per table and status. A window's
 * guards go in a call after it, and its runs in one after that. Any number of hosts may call it at once.
 *
 * @throws LedgerError `invalid_retention`, before anything is deleted.
 */
export async function prune(sql: SqlClient, request: PruneRequest = {}): Promise<PruneReport> {
  const { policy, latenessMs, limit = 5_000, dryRun = false } = request;
  const resolved = resolveRetention(policy, latenessMs);
  if (!(Number.isInteger(limit) && limit >= 1 && limit <= 1_000_000)) {
    throw new LedgerError(
      "invalid_retention",
      "The limit must be a whole number from 1 to 1,000,000.",
      { limit },
    );
  }
  const rows: PrunedRows[] = [];
  for (const { rule, days } of resolved) {
    const statement = dryRun ? countStatement(rule) : deleteStatement(rule);
    if (rule.prepare !== undefined && !dryRun)
      await sql.query(rule.prepare, [days * 86_400, limit]);
    const [row] = await sql.query<{ deleted: number }>(statement, [days * 86_400, limit]);
    const deleted = row?.deleted ?? 0;
    // A full batch, and not a look for one row more: it might read past everything that has to wait.
    const more = deleted === limit;
    rows.push({ table: rule.table, status: rule.status, days, deleted, more });
  }
  return {
    dryRun,
    deleted: rows.reduce((sum, { deleted }) => sum + deleted, 0),
    more: rows.some(({ more }) => more),
    rows,
  };
}
