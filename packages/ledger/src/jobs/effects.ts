import type { SqlClient } from "../database/database.ts";
import { encodeResult } from "./attempt-record.ts";
import type { JobClaim } from "./job.ts";

/** Where an effect stands: begun and perhaps done (`STARTED`), or done and recorded (`DONE`). */
export type EffectState = "STARTED" | "DONE";

/**
 * Which state may follow which. `STARTED` follows itself when a later attempt calls again under the same key.
 * A record whose call is known not to have happened is removed.
 */
export const effectTransitions: Readonly<Record<EffectState, readonly EffectState[]>> = {
  STARTED: ["STARTED", "DONE"],
  DONE: [],
};

/** What became of a begin. */
export type EffectBegin =
  /** Call now. `isRepeat`: it was begun before, it is not known whether it happened, and the key is the same. */
  | { readonly outcome: "begun"; readonly idempotencyKey: string; readonly isRepeat: boolean }
  /** It was begun before and may not be called again. Nothing was written. */
  | { readonly outcome: "in_doubt" }
  | { readonly outcome: "done"; readonly result: RecordedResult }
  /** The job is no longer held under that fence. Nothing was written. */
  | { readonly outcome: "refused" };

/** A result as JSON text; `undefined`: none was kept. */
export type RecordedResult = string | undefined;

/**
 * The record of what jobs do outside the database. Every method is one statement, and writes only while the job
 * runs under the fence shown. What was begun under it is finished or forgotten after the job was cancelled too.
 */
export interface JobEffectStore {
  /**
   * Records that an effect is about to happen.
   *
   * @param mayRepeat Whether an effect that is in doubt is begun again, under the same key.
   */
  begin(claim: JobClaim, name: string, mayRepeat: boolean): Promise<EffectBegin>;
  /**
   * Records that an effect happened, with its result. Doing so again under the same fence keeps the last result.
   *
   * @returns What was kept: no result that has no JSON form or takes more than 64 KiB. `undefined`: the job is no longer
   * held under that fence.
   */
  finish(
    claim: JobClaim,
    name: string,
    result: unknown,
  ): Promise<{ readonly result: RecordedResult } | undefined>;
  /** Removes the record of an effect that did not happen. `false`: the job is no longer held, or it is done. */
  forget(claim: JobClaim, name: string): Promise<boolean>;
}

// The job's row is locked, so that no claim takes it over between the look at the fence and the write. Whoever
// holds the next fence therefore sees what was written under this one.
const heldJob = `held AS MATERIALIZED (
  SELECT job.id, job.tenant_id, job.created_at FROM evenkeel.background_job AS job
  WHERE job.id = $1::bigint AND job.fence = $2::bigint AND job.state = 'RUNNING'
  FOR NO KEY UPDATE
)`;

// What a call did is known though its job was cancelled meanwhile: no later fence can have begun it again.
const heldOrCancelledJob = `${heldJob}, known AS (
  SELECT id, created_at, tenant_id FROM held UNION ALL
  SELECT ended.id, ended.created_at, ended.tenant_id FROM evenkeel.background_job_history AS ended
  WHERE ended.id = $1::bigint AND ended.outcome = 'CANCELLED' AND NOT EXISTS (SELECT FROM held)
)`;

// Not by the job's id alone, which an earlier job may have had.
const ofJob = (job: string): string => `effect.job_id = ${job}.id AND effect.name = $3
  AND effect.job_created_at = ${job}.created_at AND effect.tenant_id = ${job}.tenant_id COLLATE "C"`;

// The fresh key tells a new record from one that was there.
const beginStatement = `
WITH ${heldJob}, fresh AS MATERIALIZED (
  SELECT gen_random_uuid() AS key
), begun AS (
  INSERT INTO evenkeel.background_effect AS effect
    (job_id, job_created_at, name, tenant_id, fence, idempotency_key)
  SELECT held.id, held.created_at, $3, held.tenant_id, $2::bigint, fresh.key FROM held, fresh
  ON CONFLICT (job_id, name, job_created_at, tenant_id) DO UPDATE SET (fence, tries, started_at) = (
    SELECT
      CASE WHEN decision.again THEN EXCLUDED.fence ELSE effect.fence END,
      effect.tries + decision.again::int,
      CASE WHEN decision.again THEN EXCLUDED.started_at ELSE effect.started_at END
    FROM (SELECT effect.state = 'STARTED' AND $4::boolean AS again) AS decision
  )
  RETURNING state, idempotency_key, result
)
SELECT begun.state::text, begun.idempotency_key::text AS "idempotencyKey", begun.result::text AS result,
  begun.idempotency_key <> fresh.key AS "isKnown"
FROM begun, fresh`;

const finishStatement = `
WITH ${heldOrCancelledJob}
UPDATE evenkeel.background_effect AS effect
SET state = 'DONE', result = $4::jsonb, finished_at = now()
FROM known
WHERE ${ofJob("known")} AND effect.fence = $2::bigint
RETURNING effect.result::text AS result`;

const forgetStatement = `
WITH ${heldOrCancelledJob}
DELETE FROM evenkeel.background_effect AS effect USING known
WHERE ${ofJob("known")} AND effect.fence = $2::bigint AND effect.state = 'STARTED'
RETURNING effect.name`;

interface BegunRow {
  readonly state: EffectState;
  readonly idempotencyKey: string;
  readonly result: string | null;
  readonly isKnown: boolean;
}

/** Returns the effect store on a connection pool. */
export function createJobEffectStore(sql: SqlClient): JobEffectStore {
  return {
    begin: async ({ id, fence }, name, mayRepeat) => {
      const [row] = await sql.query<BegunRow>(beginStatement, [id, fence, name, mayRepeat]);
      if (row === undefined) return { outcome: "refused" };
      const { state, idempotencyKey, isKnown } = row;
      if (state === "DONE") return { outcome: "done", result: row.result ?? undefined };
      if (isKnown && !mayRepeat) return { outcome: "in_doubt" };
      return { outcome: "begun", idempotencyKey, isRepeat: isKnown };
    },
    finish: async ({ id, fence }, name, result) => {
      const text = result === null ? "null" : encodeResult(result);
      const [row] = await sql.query<{ result: string | null }>(finishStatement, [
        id,
        fence,
        name,
        text ?? null,
      ]);
      return row === undefined ? undefined : { result: row.result ?? undefined };
    },
    forget: async ({ id, fence }, name) => {
      const rows = await sql.query(forgetStatement, [id, fence, name]);
      return rows.length === 1;
    },
  };
}
