import type { JsonValue, Lane } from "@evenkeel/core";

import { isJobId, type JobStatus, type RecordedAttemptError } from "./job.ts";
import type { JobProgress } from "./progress.ts";
import { explainJob, type JobExplanation } from "./job-explanation.ts";
import { pageLimit, type Page } from "../database/page.ts";
import type { Scope } from "../database/tenant-scope.ts";

/** A job as recorded, in the queue or in its history. */
export interface JobRecord {
  readonly id: string;
  readonly tenantId: string;
  readonly type: string;
  readonly version: number;
  readonly payload: JsonValue;
  readonly lane: Lane;
  readonly status: JobStatus;
  /** -10 to 10: each level counts as ten minutes of waiting. */
  readonly priority: number;
  readonly runAt: Date;
  /** Attempts begun. */
  readonly attempt: number;
  readonly uniqueKey: string | null;
  readonly owner: string | null;
  readonly leaseExpiresAt: Date | null;
  /** How far its handler said it was, in the attempt that runs or ran last; `null` once it has ended. */
  readonly progress: JobProgress | null;
  readonly result: JsonValue;
  readonly errors: readonly RecordedAttemptError[];
  readonly correlationId: string | null;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
}

/** Which jobs to list. */
export interface JobFilter extends Page {
  readonly status?: JobStatus;
  readonly type?: string;
}

/** Jobs, as far as a scope reaches. */
export interface ScopedJobs {
  find(id: string): Promise<JobRecord | undefined>;
  /** The newest first. */
  list(filter?: JobFilter): Promise<JobRecord[]>;
  /** Cancels a job that waits, on record. `false`: it is running, has ended, or is nobody's of this scope. */
  cancel(id: string): Promise<boolean>;
  /**
   * Makes a job that waits due at another time, on record. `false`: it is running, has ended, or is nobody's of
   * this scope.
   *
   * @throws RangeError for a date that is none.
   */
  reschedule(id: string, runAt: Date): Promise<boolean>;
  /**
   * Why a job has not run, who runs it, or how it ended. `undefined`: nobody's of this scope.
   *
   * @param options.types The types that the hosts have handlers for, to tell work that nobody knows.
   */
  explain(
    id: string,
    options?: { readonly types?: readonly string[] },
  ): Promise<JobExplanation | undefined>;
}

const columns = `"id", "tenant_id", "type", "version", "payload", "lane", "priority", "run_at", "attempt",
  "unique_key", "errors", "correlation_id", "created_at"`;

const allJobs = `
SELECT ${columns}, "state"::text AS "status", "owner", "lease_expires_at", "progress", NULL::jsonb AS "result",
  NULL::timestamptz AS "finished_at"
FROM "evenkeel"."background_job" WHERE :tenant("tenant_id")
UNION ALL
SELECT ${columns}, "outcome"::text, NULL, NULL, NULL, "result", "finished_at"
FROM "evenkeel"."background_job_history" WHERE :tenant("tenant_id")`;

const recordColumns = `"id"::text, "tenant_id" AS "tenantId", "type", "version", "payload", "lane", "status",
  "priority", "run_at" AS "runAt", "attempt", "unique_key" AS "uniqueKey", "owner", "lease_expires_at" AS "leaseExpiresAt",
  "progress", "result", "errors", "correlation_id" AS "correlationId", "created_at" AS "createdAt",
  "finished_at" AS "finishedAt"`;

const listStatement = `
SELECT ${recordColumns} FROM (${allJobs}) AS "job"
WHERE ($1::text IS NULL OR "status" = $1) AND ($2::text IS NULL OR "type" = $2)
  AND ($3::bigint IS NULL OR "id" < $3)
ORDER BY "job"."id" DESC LIMIT $4::int`;

const findStatement = `SELECT ${recordColumns} FROM (${allJobs}) AS "job" WHERE "id" = $1::bigint`;

// One that is being claimed at this moment is running, and is left to its runner.
const cancelStatement = `
WITH "waiting" AS (
  SELECT "id" FROM "evenkeel"."background_job"
  WHERE "id" = $1::bigint AND "state" = 'PENDING' AND :tenant("tenant_id")
  FOR UPDATE SKIP LOCKED
), "gone" AS (
  DELETE FROM "evenkeel"."background_job" AS "j" USING "waiting" WHERE "j"."id" = "waiting"."id"
  RETURNING "j".*
), "audit" AS (
  INSERT INTO "evenkeel"."background_audit_entry"
    ("actor", "action", "subject_kind", "subject_id", "tenant_id", "before", "after")
  SELECT $2, 'job.cancel', 'job', "id"::text, "tenant_id", '{"status":"PENDING"}', '{"status":"CANCELLED"}'
  FROM "gone"
)
INSERT INTO "evenkeel"."background_job_history" (
  "id", "tenant_id", "type", "version", "payload", "lane", "outcome", "priority", "run_at", "attempt",
  "unique_key", "errors", "correlation_id", "created_at"
)
SELECT "id", "tenant_id", "type", "version", "payload", "lane", 'CANCELLED', "priority", "run_at", "attempt",
  "unique_key", "errors", "correlation_id", "created_at"
FROM "gone"
RETURNING "id"`;

const rescheduleStatement = `
WITH "waiting" AS (
  SELECT "id", "run_at" FROM "evenkeel"."background_job"
  WHERE "id" = $1::bigint AND "state" = 'PENDING' AND :tenant("tenant_id")
  FOR UPDATE SKIP LOCKED
), "moved" AS (
  UPDATE "evenkeel"."background_job" AS "j"
  SET "run_at" = date_trunc('milliseconds', $3::timestamptz) FROM "waiting"
  WHERE "j"."id" = "waiting"."id"
  RETURNING "j"."id", "j"."tenant_id", "j"."run_at" AS "after", "waiting"."run_at" AS "before"
)
INSERT INTO "evenkeel"."background_audit_entry"
  ("actor", "action", "subject_kind", "subject_id", "tenant_id", "before", "after")
SELECT $2, 'job.reschedule', 'job', "id"::text, "tenant_id", jsonb_build_object('runAt', "before"),
  jsonb_build_object('runAt', "after")
FROM "moved"
RETURNING "id"`;

/** Jobs within a scope. */
export function createScopedJobs(scope: Scope, actor: string): ScopedJobs {
  return {
    find: async (id) =>
      isJobId(id) ? (await scope.query<JobRecord>(findStatement, [id]))[0] : undefined,
    list: ({ status, type, before, limit } = {}) => {
      if (before !== undefined && !isJobId(before)) return Promise.resolve([]);
      return scope.query<JobRecord>(listStatement, [
        status ?? null,
        type ?? null,
        before ?? null,
        pageLimit(limit),
      ]);
    },
    cancel: async (id) =>
      isJobId(id) && (await scope.query(cancelStatement, [id, actor])).length === 1,
    reschedule: async (id, runAt) =>
      isJobId(id) &&
      (await scope.query(rescheduleStatement, [id, actor, runAt.toISOString()])).length === 1,
    explain: async (id, { types } = {}) => (isJobId(id) ? explainJob(scope, id, types) : undefined),
  };
}
