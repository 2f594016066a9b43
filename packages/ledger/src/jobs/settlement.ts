import type { SqlClient } from "../database/database.ts";
import { attemptFields, encodeResult, errorsWith, recordAttemptError } from "./attempt-record.ts";
import type { Settlement } from "./job.ts";
import { claimsOf, heldJobs, isHeld, isLocked, patiently } from "./lease.ts";
import { turnAt, waitingState } from "./turn.ts";

/*
 * Who may settle a job: whoever shows the fence of its last claim, while the job is RUNNING. A claim gives a new fence,
 * and an expired lease makes the job available again with the next claim of any host: until then its worker may settle it.
 */

/**
 * Settles a mixed batch under the fences shown. Rows are locked in the order of their ids, as heartbeats do, so that
 * the two cannot deadlock. A row whose fence or state changed since is left out of `held`, hence of everything else and
 * of the result. Delays count from now(): in a caller's transaction from its beginning.
 *
 * @param lock Whether it waits for rows that others have locked, as it must in the transaction of a handler, or leaves
 * them out.
 */
const settle = (lock: "FOR UPDATE" | "FOR UPDATE SKIP LOCKED"): string => `
WITH
  held AS MATERIALIZED (
    SELECT job.id, job.attempt, input.kind, input.has_run, input.result, input.reason,
      CASE WHEN input.kind = 'released' THEN job.run_at
        ELSE date_trunc('milliseconds', now() + input.delay_ms * interval '1 millisecond') END AS due_at,
      -- The attempt's error, with what only the database knows.
      CASE WHEN input.error IS NOT NULL THEN input.error || ${attemptFields} END AS error
    FROM ${claimsOf(`id bigint, fence bigint, kind text, delay_ms float8, has_run bool, result jsonb, reason text,
      error jsonb`)}
    ${heldJobs(lock)}
  ),
  rescheduled AS (
    UPDATE evenkeel.background_job AS job
    SET state = ${waitingState("held.due_at", "now()")},
      attempt = job.attempt - (held.kind <> 'retry' AND job.started_at IS NOT NULL)::int,
      run_at = held.due_at, turn_at = ${turnAt("held.due_at", "job.priority")},
      lane = NULL, owner = NULL, lease_expires_at = NULL, started_at = NULL, capped = false,
      crashes = CASE WHEN held.has_run IS FALSE THEN job.crashes ELSE 0 END,
      errors = ${errorsWith("held.error")}
    FROM held
    WHERE job.id = held.id AND held.kind IN ('retry', 'snooze', 'released')
  ),
  finished AS (
    DELETE FROM evenkeel.background_job AS job
    USING held
    WHERE job.id = held.id AND held.kind IN ('succeeded', 'dead', 'cancelled')
    RETURNING job.id, job.tenant_id, job.type, job.version, job.payload, job.lane, job.priority, job.run_at,
      job.attempt, job.unique_key, job.correlation_id, job.created_at, job.redriven_from,
      held.kind, held.result, held.reason, held.error,
      ${errorsWith("held.error")} AS errors
  ),
  history AS (
    INSERT INTO evenkeel.background_job_history (
      id, tenant_id, type, version, payload, lane, outcome, priority, run_at, attempt, unique_key, result,
      errors, correlation_id, created_at
    )
    SELECT id, tenant_id, type, version, payload, lane, upper(kind)::evenkeel.job_outcome, priority, run_at,
      attempt, unique_key, result, errors, correlation_id, created_at
    FROM finished
  ),
  letters AS (
    INSERT INTO evenkeel.background_dead_letter (
      kind, source_id, source_created_at, tenant_id, name, reason, error, payload, history, previous_id
    )
    SELECT 'JOB', id::text, created_at, tenant_id, type, reason, error ->> 'message', payload, errors, redriven_from
    FROM finished
    WHERE kind = 'dead'
    ON CONFLICT (kind, source_id, source_created_at) WHERE status = 'OPEN' DO NOTHING
  )
SELECT id::text FROM held`;

/** Settles a batch in a handler's transaction: it waits for rows that others have locked. */
const settleWithin = settle("FOR UPDATE");

/** Settles a batch at once, but for rows that others have locked. */
export const settleStatement: string = settle("FOR UPDATE SKIP LOCKED");

/**
 * Settles a batch of nothing but successes, the usual case, without locking its rows first: one write less per job. They
 * are taken in the order of their ids here too, as the array is sorted and the index is read in that order. Were it read
 * otherwise, Postgres would end a deadlock with a heartbeat by an error, and the batch would be settled again.
 */
const succeed = (ids: string): string => `
WITH
  finished AS (
    DELETE FROM evenkeel.background_job AS job
    WHERE job.id = ANY (ARRAY(${ids})) AND ${isHeld}
      -- IS TRUE keeps it from becoming a join, whose plan would go by estimates: here it is looked up in a hash table.
      AND ((job.id, job.fence) IN (SELECT * FROM unnest($1::text::bigint[], $2::text::bigint[]))) IS TRUE
    RETURNING job.id, job.fence, job.tenant_id, job.type, job.version, job.payload, job.lane, job.priority, job.run_at,
      job.attempt, job.unique_key, job.errors, job.correlation_id, job.created_at
  ),
  history AS (
    INSERT INTO evenkeel.background_job_history (
      id, tenant_id, type, version, payload, lane, outcome, priority, run_at, attempt, unique_key, result,
      errors, correlation_id, created_at
    )
    SELECT id, tenant_id, type, version, payload, lane, 'SUCCEEDED', priority, run_at, attempt, unique_key,
      CASE WHEN $3::text IS NOT NULL THEN $3::jsonb -> (id || ' ' || fence) END, errors, correlation_id, created_at
    FROM finished
  )
SELECT id::text FROM finished`;

const askedIds = "SELECT unnest($1::text::bigint[])";

/** Settles successes in a handler's transaction: it waits for rows that others have locked. */
const succeedWithin = succeed(askedIds);

/** Settles successes at once. It fails where another holds one of their rows for long: see {@link isLocked}. */
export const succeedStatement: string = succeed(patiently(askedIds));

/**
 * Ends attempts under the fences shown, at once. A job that another transaction has locked is passed over: the others
 * of its batch must not wait for that.
 *
 * @returns The ids settled. The fences of the others are no longer held, or they are locked: see `findStandings`.
 */
export async function settleJobs(
  sql: SqlClient,
  settlements: readonly Settlement[],
): Promise<Set<string>> {
  if (settlements.length === 0) return new Set();
  if (isAllDone(settlements)) {
    try {
      return toIds(await sql.query(succeedStatement, encodeSuccesses(settlements)));
    } catch (error) {
      if (!isLocked(error)) throw error;
    }
  }
  return toIds(await sql.query(settleStatement, encodeSettlements(settlements)));
}

/**
 * Ends attempts in a caller's transaction, if and when that commits. It waits for jobs that other transactions have
 * locked, as it could not come back to them.
 *
 * @returns The ids settled. The fences of the others are no longer held.
 */
export async function settleJobsWithin(
  tx: SqlClient,
  settlements: readonly Settlement[],
): Promise<Set<string>> {
  if (settlements.length === 0) return new Set();
  return toIds(
    isAllDone(settlements)
      ? await tx.query(succeedWithin, encodeSuccesses(settlements))
      : await tx.query(settleWithin, encodeSettlements(settlements)),
  );
}

function isAllDone(settlements: readonly Settlement[]): boolean {
  return settlements.every(({ kind }) => kind === "succeeded");
}

function toIds(rows: readonly { readonly id: string }[]): Set<string> {
  return new Set(rows.map(({ id }) => id));
}

function encodeSettlements(settlements: readonly Settlement[]): string[] {
  return [`[${settlements.map(encodeSettlement).join(",")}]`];
}

/** The ids and fences as arrays, and the results there are as an object by both. */
function encodeSuccesses(settlements: readonly Settlement[]): (string | null)[] {
  const results: string[] = [];
  for (const settlement of settlements) {
    if (settlement.kind !== "succeeded") continue;
    const result = encodeResult(settlement.result);
    if (result !== undefined) results.push(`"${settlement.id} ${settlement.fence}":${result}`);
  }
  return [
    `{${settlements.map(({ id }) => id).join(",")}}`,
    `{${settlements.map(({ fence }) => fence).join(",")}}`,
    results.length > 0 ? `{${results.join(",")}}` : null,
  ];
}

function encodeSettlement(settlement: Settlement): string {
  const { id, fence, kind } = settlement;
  switch (kind) {
    case "succeeded": {
      const result = encodeResult(settlement.result);
      const fields = JSON.stringify({ id, fence, kind });
      return result === undefined ? fields : `${fields.slice(0, -1)},"result":${result}}`;
    }
    case "retry":
      return JSON.stringify({
        id,
        fence,
        kind,
        delay_ms: settlement.delayMs,
        error: recordAttemptError(settlement.error),
      });
    case "snooze":
      return JSON.stringify({
        id,
        fence,
        kind,
        delay_ms: settlement.delayMs,
        has_run: settlement.hasRun,
      });
    case "dead":
      return JSON.stringify({
        id,
        fence,
        kind,
        reason: settlement.reason,
        error: recordAttemptError(settlement.error),
      });
    case "released":
      return JSON.stringify({ id, fence, kind, has_run: settlement.hasRun });
    case "cancelled":
      return JSON.stringify({ id, fence, kind });
  }
}
