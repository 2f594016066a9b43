import type { SqlClient } from "../database/database.ts";
import { encodeResult } from "./attempt-record.ts";
import type { JobClaim } from "./job.ts";

/** Where an effect stands: begun and perhaps done, or done and recorded. */
export type EffectState = "STARTED" | "DONE";

/**
 * Which state may follow which. `STARTED` follows itself when a later attempt calls again under the same key.
 * A record whose call is known not to have happened is removed.
 */
export const effectTransitions: Readonly<Record<EffectState, readonly EffectState[]>> = {
  STARTED: ["STARTED", "DONE"],
  DONE: [],
};

/** The answer to a begin. */
export type EffectBegin =
  /** Call now. `isRepeat`: it was begun before and nobody knows whether it happened; the key is the same. */
  | { readonly outcome: "begun"; readonly idempotencyKey: string; readonly isRepeat: boolean }
  /** Begun before, and not to be called again: nothing was written. */
  | { readonly outcome: "in_doubt" }
  | { readonly outcome: "done"; readonly result: RecordedResult }
  /** The job is no longer held under that fence. */
  | { readonly outcome: "refused" };

/** A result as JSON text; `undefined`: none was kept. */
export type RecordedResult = string | undefined;

/**
 * The record of what jobs do outside the database. Every method is one statement, and writes only while the job
 * runs under the fence shown.
 */
export interface JobEffectStore {
  /** @param mayRepeat Whether an effect that is in doubt is begun again. */
  begin(claim: JobClaim, name: string, mayRepeat: boolean): Promise<EffectBegin>;
  /**
   * Records that it happened, with its result; again under the same fence changes nothing. `undefined`: refused.
   *
   * @returns What was kept: no result that is no JSON, or takes more than 64 KiB of it.
   */
  finish(
    claim: JobClaim,
    name: string,
    result: unknown,
  ): Promise<{ readonly result: RecordedResult } | undefined>;
  /** Removes the record of an effect that did not happen. `false`: refused. */
  forget(claim: JobClaim, name: string): Promise<boolean>;
}

// The job's row is locked, so that no claim takes it over between the look at the fence and the write. Whoever
// holds the next fence therefore sees what was written under this one.
const heldJob = `"held" AS MATERIALIZED (
  SELECT "id", "tenant_id" FROM "evenkeel"."background_job"
  WHERE "id" = $1::bigint AND "fence" = $2::bigint AND "state" = 'RUNNING'
  FOR NO KEY UPDATE
)`;

// A key of its own tells a new record from one that was there.
const beginStatement = `
WITH ${heldJob}, "fresh" AS MATERIALIZED (
  SELECT gen_random_uuid() AS "key"
), "begun" AS (
  INSERT INTO "evenkeel"."background_effect" AS "e" ("job_id", "name", "tenant_id", "fence", "idempotency_key")
  SELECT "held"."id", $3, "held"."tenant_id", $2::bigint, "fresh"."key" FROM "held", "fresh"
  ON CONFLICT ("job_id", "name") DO UPDATE SET ("fence", "tries", "started_at") = (
    SELECT
      CASE WHEN "again" THEN excluded."fence" ELSE "e"."fence" END,
      "e"."tries" + "again"::int,
      CASE WHEN "again" THEN excluded."started_at" ELSE "e"."started_at" END
    FROM (SELECT "e"."state" = 'STARTED' AND $4::boolean AS "again") AS "decision"
  )
  RETURNING "state", "idempotency_key", "result"
)
SELECT "begun"."state"::text, "begun"."idempotency_key"::text AS "idempotencyKey",
  "begun"."result"::text AS "result", "begun"."idempotency_key" <> "fresh"."key" AS "isKnown"
FROM "begun", "fresh"`;

const finishStatement = `
WITH ${heldJob}
UPDATE "evenkeel"."background_effect" AS "e"
SET "state" = 'DONE', "result" = $4::jsonb, "finished_at" = now()
FROM "held"
WHERE "e"."job_id" = "held"."id" AND "e"."name" = $3 AND "e"."fence" = $2::bigint
RETURNING "e"."result"::text AS "result"`;

const forgetStatement = `
WITH ${heldJob}
DELETE FROM "evenkeel"."background_effect" AS "e" USING "held"
WHERE "e"."job_id" = "held"."id" AND "e"."name" = $3 AND "e"."fence" = $2::bigint AND "e"."state" = 'STARTED'
RETURNING "e"."name"`;

interface BegunRow {
  readonly state: EffectState;
  readonly idempotencyKey: string;
  readonly result: string | null;
  readonly isKnown: boolean;
}

/** The effect store on a connection pool. */
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
