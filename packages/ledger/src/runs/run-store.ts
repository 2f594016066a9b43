import type { Lane } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { redactError } from "../database/redaction.ts";
import type { FinishedRunStatus } from "./run.ts";

/** Names one run of one function: Inngest's run id and the function's full id. */
export interface RunIdentity {
  readonly runId: string;
  readonly functionId: string;
}

/** A run that a worker starts or goes on with. */
export interface RunStart extends RunIdentity {
  readonly eventName: string;
  readonly eventId?: string;
  readonly dispatchKey?: string;
  readonly continuation?: number;
  readonly lane?: Lane;
  readonly tenantId?: string;
  readonly correlationId?: string;
  /** Names the worker for people; it is no fence. */
  readonly owner: string;
  /** Inngest's attempt, 0 for the first. */
  readonly attempt: number;
}

/** How an attempt ended. */
export interface AttemptEnd extends RunIdentity {
  readonly attempt: number;
  /** Absent when the attempt succeeded. */
  readonly error?: string;
}

/** How a run ended. */
export interface RunEnd extends RunIdentity {
  readonly status: FinishedRunStatus;
  /**
   * The fence that the worker got from `begin`. Without it the end is Inngest's own word
   * (`inngest/function.failed`), which no fence outranks.
   */
  readonly fence?: string;
  readonly output?: unknown;
  readonly error?: string;
  /** For `SKIPPED_DUPLICATE`: the run that holds the window. */
  readonly duplicateOf?: string;
}

/** The record of function runs and their attempts. Each method is one statement. */
export interface RunStore {
  /**
   * Records that a worker runs this run's attempt. Another worker than before, or any worker after the run
   * was stale, gets a new fence. `undefined`: the run has already ended, and nothing was written.
   */
  begin(start: RunStart): Promise<{ readonly fence: string } | undefined>;
  /** Records how an attempt ended. `false`: it is not recorded as begun, or has already ended. */
  finishAttempt(end: AttemptEnd): Promise<boolean>;
  /** Says that the run's worker is alive. `false`: the fence no longer holds, or the run has ended. */
  heartbeat(run: RunIdentity & { readonly fence: string }): Promise<boolean>;
  /**
   * Ends a run and its open attempts. `false`: it has already ended, the fence no longer holds, or it was
   * stale and another run has taken its window over.
   */
  finish(end: RunEnd): Promise<boolean>;
  /**
   * Marks runs as stale whose worker was silent for so long, the longest silent first, and answers which.
   * A worker that comes back takes its run up again under a new fence.
   */
  markStale(request: { readonly silentMs: number; readonly limit: number }): Promise<RunIdentity[]>;
}

/** Another run has taken the window of the run `r` over. */
const wasTakenOver = `EXISTS (
    SELECT FROM "evenkeel"."background_dispatch_guard" AS "g"
    WHERE "g"."function_id" = "r"."function_id" AND "g"."dispatch_key" = "r"."dispatch_key"
      AND "g"."continuation" = "r"."continuation" AND "g"."run_id" <> "r"."run_id"
  )`;

const beginStatement = `
WITH "run" AS (
  INSERT INTO "evenkeel"."background_function_run" AS "r" (
    "run_id", "function_id", "event_name", "event_id", "dispatch_key", "continuation", "lane",
    "tenant_id", "correlation_id", "owner"
  )
  VALUES ($1, $2, $3, $4, $5, $6::int, $7::"evenkeel"."lane", $8, $9, $10)
  ON CONFLICT ("run_id", "function_id") DO UPDATE SET
    "status" = 'RUNNING', "owner" = excluded."owner", "heartbeat_at" = clock_timestamp(),
    -- Steps of one run may be under way at once in one worker: they share its fence.
    "fence" = CASE
      WHEN "r"."status" = 'STALE' OR "r"."owner" <> excluded."owner" THEN gen_random_uuid()
      ELSE "r"."fence"
    END
  WHERE "r"."status" = 'RUNNING' OR ("r"."status" = 'STALE' AND NOT ${wasTakenOver})
  RETURNING "id", "fence"
), "attempt" AS (
  INSERT INTO "evenkeel"."background_function_attempt" ("run_row_id", "attempt", "owner")
  SELECT "id", $11::int, $10 FROM "run"
  ON CONFLICT ("run_row_id", "attempt") DO UPDATE SET "owner" = excluded."owner"
)
SELECT "fence" FROM "run"`;

const finishStatement = `
WITH "run" AS (
UPDATE "evenkeel"."background_function_run" AS "r" SET
  "status" = $3::"evenkeel"."run_status",
  "output" = $5::jsonb,
  "last_error" = coalesce($6, "last_error"),
  "duplicate_of" = $7,
  "heartbeat_at" = clock_timestamp(),
  "finished_at" = clock_timestamp()
WHERE "run_id" = $1 AND "function_id" = $2 AND "status" IN ('RUNNING', 'STALE')
  AND ($4::uuid IS NULL OR ("fence" = $4::uuid AND (
    "status" = 'RUNNING' OR $3 = 'SKIPPED_DUPLICATE' OR NOT ${wasTakenOver}
  )))
RETURNING "id"
), "attempts" AS (
  UPDATE "evenkeel"."background_function_attempt" AS "a"
  SET "finished_at" = clock_timestamp(), "error" = $6
  FROM "run" WHERE "a"."run_row_id" = "run"."id" AND "a"."finished_at" IS NULL
)
SELECT "id" FROM "run"`;

const markStaleStatement = `
UPDATE "evenkeel"."background_function_run" AS "r" SET "status" = 'STALE'
FROM (
  SELECT "id" FROM "evenkeel"."background_function_run"
  WHERE "status" = 'RUNNING'
    AND "heartbeat_at" < clock_timestamp() - $1::bigint * interval '1 millisecond'
  ORDER BY "heartbeat_at"
  LIMIT $2::int
  FOR UPDATE SKIP LOCKED
) AS "silent"
WHERE "r"."id" = "silent"."id"
RETURNING "r"."run_id" AS "runId", "r"."function_id" AS "functionId"`;

/** The run store on a connection pool. */
export function createRunStore(sql: SqlClient): RunStore {
  return {
    begin: async (start) => {
      const [row] = await sql.query<{ fence: string }>(beginStatement, [
        start.runId,
        start.functionId,
        start.eventName,
        start.eventId ?? null,
        start.dispatchKey ?? null,
        start.continuation ?? 0,
        start.lane ?? "stable",
        start.tenantId ?? null,
        start.correlationId ?? null,
        start.owner,
        start.attempt,
      ]);
      return row === undefined ? undefined : { fence: row.fence };
    },
    finishAttempt: async ({ runId, functionId, attempt, error }) => {
      const rows = await sql.query(
        `UPDATE "evenkeel"."background_function_attempt" AS "a"
         SET "finished_at" = clock_timestamp(), "error" = $4
         FROM "evenkeel"."background_function_run" AS "r"
         WHERE "r"."run_id" = $1 AND "r"."function_id" = $2
           AND "a"."run_row_id" = "r"."id" AND "a"."attempt" = $3::int AND "a"."finished_at" IS NULL
         RETURNING "a"."attempt"`,
        [runId, functionId, attempt, error === undefined ? null : redactError(error)],
      );
      return rows.length === 1;
    },
    heartbeat: async ({ runId, functionId, fence }) => {
      const rows = await sql.query(
        `UPDATE "evenkeel"."background_function_run" SET "heartbeat_at" = clock_timestamp()
         WHERE "run_id" = $1 AND "function_id" = $2 AND "fence" = $3::uuid AND "status" = 'RUNNING'
         RETURNING "id"`,
        [runId, functionId, fence],
      );
      return rows.length === 1;
    },
    finish: async (end) => {
      const rows = await sql.query(finishStatement, [
        end.runId,
        end.functionId,
        end.status,
        end.fence ?? null,
        end.output === undefined ? null : JSON.stringify(end.output),
        end.error === undefined ? null : redactError(end.error),
        end.duplicateOf ?? null,
      ]);
      return rows.length === 1;
    },
    markStale: ({ silentMs, limit }) =>
      sql.query<RunIdentity>(markStaleStatement, [silentMs, limit]),
  };
}
