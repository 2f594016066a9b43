import type { JsonValue } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import type { EffectState } from "./effects.ts";
import { encodeResult } from "./attempt-record.ts";
import { LedgerError } from "../database/ledger-error.ts";
import { isJobId } from "./job.ts";
import type { Scope } from "../database/tenant-scope.ts";

/** A call of a job to the outside world, as recorded. */
export interface EffectRecord {
  readonly jobId: string;
  readonly name: string;
  readonly tenantId: string;
  /** `STARTED` once its attempt has ended: nobody here knows whether it happened. */
  readonly state: EffectState;
  /** What every try of it carries. */
  readonly idempotencyKey: string;
  /** Calls begun. */
  readonly tries: number;
  /** `null` as well when there was none or it could not be kept. */
  readonly result: JsonValue;
  /** When it was begun last. */
  readonly startedAt: Date;
  readonly finishedAt: Date | null;
}

/** What an operator found out about an effect in doubt. */
export type EffectDecision = { readonly reason?: string } &
  /** It is done, and the next attempt answers this result. */
  (
    | { readonly happened: true; readonly result?: JsonValue }
    /** It is forgotten, and the next attempt calls under a new key. */
    | { readonly happened: false }
  );

/** Effects of jobs, as far as a scope reaches. */
export interface ScopedEffects {
  /** The effects of one job, in the order in which they were begun last. */
  list(jobId: string): Promise<EffectRecord[]>;
}

/** Effects as an operator decides about them. */
export interface OperatorEffects extends ScopedEffects {
  /**
   * Decides about an effect in doubt, on record. `false`: there is none of that name, it is done, or its job is
   * running and will decide by itself.
   *
   * @throws LedgerError `invalid_result` for a result that is no JSON or takes more than 64 KiB.
   */
  resolve(jobId: string, effectName: string, decision: EffectDecision): Promise<boolean>;
}

const listStatement = `
SELECT "job_id"::text AS "jobId", "name", "tenant_id" AS "tenantId", "state"::text,
  "idempotency_key"::text AS "idempotencyKey", "tries", "result", "started_at" AS "startedAt",
  "finished_at" AS "finishedAt"
FROM "evenkeel"."background_effect"
WHERE "job_id" = $1::bigint AND :tenant("tenant_id")
ORDER BY "background_effect"."started_at", "name"`;

// A job that waits is locked, and a claim passes over it until this has ended.
const resolveStatement = `
WITH "job" AS MATERIALIZED (
  SELECT "state" FROM "evenkeel"."background_job" WHERE "id" = $2::bigint FOR NO KEY UPDATE
), "doubtful" AS MATERIALIZED (
  SELECT "job_id", "name", "tenant_id" FROM "evenkeel"."background_effect"
  WHERE "job_id" = $2::bigint AND "name" = $3 AND "state" = 'STARTED'
    AND NOT EXISTS (SELECT FROM "job" WHERE "state" = 'RUNNING')
  FOR UPDATE
), "done" AS (
  UPDATE "evenkeel"."background_effect" AS "e"
  SET "state" = 'DONE', "result" = $5::jsonb, "finished_at" = now()
  FROM "doubtful" AS "d"
  WHERE "e"."job_id" = "d"."job_id" AND "e"."name" = "d"."name" AND $4::boolean
), "gone" AS (
  DELETE FROM "evenkeel"."background_effect" AS "e" USING "doubtful" AS "d"
  WHERE "e"."job_id" = "d"."job_id" AND "e"."name" = "d"."name" AND NOT $4::boolean
)
INSERT INTO "evenkeel"."background_audit_entry"
  ("actor", "action", "subject_kind", "subject_id", "tenant_id", "before", "after", "reason")
SELECT $1, 'effect.resolve', 'job', "job_id"::text, "tenant_id",
  jsonb_build_object('effect', "name", 'state', 'STARTED'),
  jsonb_build_object('effect', "name", 'happened', $4::boolean), $6::text
FROM "doubtful"
RETURNING "id"`;

/** Effects within a scope. */
export function createScopedEffects(scope: Scope): ScopedEffects {
  return {
    list: async (jobId) =>
      isJobId(jobId) ? scope.query<EffectRecord>(listStatement, [jobId]) : [],
  };
}

/** See `OperatorEffects.resolve`. */
export async function resolveEffect(
  sql: SqlClient,
  actor: string,
  decision: EffectDecision & { readonly jobId: string; readonly name: string },
): Promise<boolean> {
  const { jobId, name, happened, reason } = decision;
  if (!isJobId(jobId)) return false;
  const result = decision.happened ? (decision.result ?? null) : null;
  const text = result === null ? null : encodeResult(result);
  if (text === undefined) {
    throw new LedgerError(
      "invalid_result",
      `The result of effect ${name} must be JSON of at most 64 KiB, without NUL. Leave it out, or shorten it.`,
      { jobId },
    );
  }
  const rows = await sql.query(resolveStatement, [
    actor,
    jobId,
    name,
    happened,
    text,
    reason ?? null,
  ]);
  return rows.length === 1;
}
