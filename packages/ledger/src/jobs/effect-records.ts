import type { JsonValue } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { LedgerError } from "../database/ledger-error.ts";
import { defineStatement } from "../database/statement.ts";
import type { Scope } from "../database/tenant-scope.ts";
import { encodeResult } from "./attempt-record.ts";
import type { EffectState } from "./effects.ts";
import { isJobId } from "./job.ts";

/** A call of a job to the outside world, as recorded. */
export interface EffectRecord {
  readonly jobId: string;
  /** When its job was created. It tells two jobs apart that had one id, which can go back with a restore. */
  readonly jobCreatedAt: Date;
  readonly name: string;
  readonly tenantId: string;
  /** `STARTED` after the end of its attempt: the ledger does not know whether it happened. */
  readonly state: EffectState;
  /** The same for every try of it. */
  readonly idempotencyKey: string;
  /** Calls begun. */
  readonly tries: number;
  /** `null` as well when there was none, or when it could not be kept. */
  readonly result: JsonValue;
  /** When its last try began. */
  readonly startedAt: Date;
  readonly finishedAt: Date | null;
}

/** What an operator found out about an effect in doubt. */
export type EffectDecision = {
  readonly reason?: string;
  /** When its job was created. Defaults to the newest job of that id with such an effect. */
  readonly jobCreatedAt?: Date;
} &
  /** It is done, and the next attempt is given this result, `null` by default. */
  (
    | { readonly happened: true; readonly result?: JsonValue }
    /** It is forgotten, and the next attempt calls under a new key. */
    | { readonly happened: false }
  );

/** Effects of jobs, as far as a scope reaches. */
export interface ScopedEffects {
  /** Returns the effects of one job, by the time when their last tries began: of each job that had this id. */
  list(jobId: string): Promise<EffectRecord[]>;
}

/** Effects as an operator decides about them. */
export interface OperatorEffects extends ScopedEffects {
  /**
   * Decides about an effect in doubt, on record. `false`: there is none of that name, it is done, or its job is
   * running and will decide by itself.
   *
   * @throws LedgerError `invalid_result` for a result that has no JSON form or takes more than 64 KiB.
   */
  resolve(jobId: string, effectName: string, decision: EffectDecision): Promise<boolean>;
}

const listStatement = `
SELECT effect.job_id::text AS "jobId", effect.job_created_at AS "jobCreatedAt", effect.name, effect.tenant_id AS "tenantId", effect.state::text,
  effect.idempotency_key::text AS "idempotencyKey", effect.tries, effect.result, effect.started_at AS "startedAt",
  effect.finished_at AS "finishedAt"
FROM evenkeel.background_effect AS effect
WHERE effect.job_id = $1::bigint AND :tenant(effect.tenant_id)
ORDER BY effect.started_at, effect.name`;

const isDoubtful = `(effect.job_id, effect.name, effect.job_created_at, effect.tenant_id)
    = (doubtful.job_id, doubtful.name, doubtful.job_created_at, doubtful.tenant_id)`;

// A job that waits is locked, and a claim passes over it until this has ended.
const resolveStatement = defineStatement<
  "actor" | "jobId" | "jobCreatedAt" | "name" | "happened" | "result" | "reason"
>(`
WITH job AS MATERIALIZED (
  SELECT state, created_at FROM evenkeel.background_job WHERE id = :jobId::bigint FOR NO KEY UPDATE
), newest AS MATERIALIZED (
  SELECT effect.ctid FROM evenkeel.background_effect AS effect
  WHERE effect.job_id = :jobId::bigint AND effect.name = :name
    AND (:jobCreatedAt::timestamptz IS NULL OR effect.job_created_at = :jobCreatedAt)
  ORDER BY effect.job_created_at DESC LIMIT 1
), doubtful AS MATERIALIZED (
  SELECT effect.job_id, effect.job_created_at, effect.name, effect.tenant_id
  FROM evenkeel.background_effect AS effect
  WHERE effect.ctid = ANY (ARRAY(SELECT ctid FROM newest)) AND effect.state = 'STARTED' AND NOT EXISTS (
    SELECT FROM job WHERE job.state = 'RUNNING' AND job.created_at = effect.job_created_at
  )
  FOR UPDATE
), done AS (
  UPDATE evenkeel.background_effect AS effect
  SET state = 'DONE', result = :result::jsonb, finished_at = now()
  FROM doubtful
  WHERE ${isDoubtful} AND :happened::boolean
), forgotten AS (
  DELETE FROM evenkeel.background_effect AS effect USING doubtful
  WHERE ${isDoubtful} AND NOT :happened::boolean
)
INSERT INTO evenkeel.background_audit_entry
  (actor, action, subject_kind, subject_id, tenant_id, before, after, reason)
SELECT :actor, 'effect.resolve', 'job', job_id::text, tenant_id,
  jsonb_build_object('effect', name, 'state', 'STARTED'),
  jsonb_build_object('effect', name, 'happened', :happened::boolean), :reason::text
FROM doubtful
RETURNING id`);

/** Returns the effects of a scope. */
export function createScopedEffects(scope: Scope): ScopedEffects {
  return {
    list: async (jobId) =>
      isJobId(jobId) ? scope.query<EffectRecord>(listStatement, [jobId]) : [],
  };
}

/**
 * Decides about an effect in doubt, on record. `false`: there is none of that name, it is done, or its job is running
 * and will decide by itself.
 *
 * @throws LedgerError `invalid_result` for a result that has no JSON form or takes more than 64 KiB.
 */
export async function resolveEffect(
  sql: SqlClient,
  actor: string,
  decision: EffectDecision & { readonly jobId: string; readonly name: string },
): Promise<boolean> {
  const { jobId, name, happened, reason, jobCreatedAt } = decision;
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
  const values = {
    actor,
    jobId,
    jobCreatedAt: jobCreatedAt?.toISOString() ?? null,
    name,
    happened,
    result: text,
    reason: reason ?? null,
  };
  const rows = await sql.query(resolveStatement.text, resolveStatement.values(values));
  return rows.length === 1;
}
