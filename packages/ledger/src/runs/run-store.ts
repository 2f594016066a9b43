import type { SqlClient } from "../database/database.ts";
import { redactError } from "../database/redaction.ts";
import { defineStatement } from "../database/statement.ts";
import { toStorableText } from "../database/storable-json.ts";
import { wasTakenOver } from "./run-conditions.ts";
import { encodeOutput } from "./run-output.ts";
import type { AttemptEnd, RunEnd, RunIdentity, RunStart, SilentRuns } from "./run.ts";

/** The record of function runs and their attempts. Each method is one statement. */
export interface RunStore {
  /**
   * Records that a worker runs this run's attempt. Another holder than before, or any after the run was stale, gets a
   * new fence. `undefined`: the run has already ended, and nothing was written.
   */
  begin(start: RunStart): Promise<{ readonly fence: string } | undefined>;
  /** Records how an attempt ended. `false`: it is not recorded as begun, or has already ended. */
  finishAttempt(end: AttemptEnd): Promise<boolean>;
  /** Says that the run's worker is alive. `false`: the fence no longer holds, or the run has ended. */
  heartbeat(run: RunIdentity & { readonly fence: string }): Promise<boolean>;
  /**
   * Ends a run and its open attempts. `false`: it has already ended, the fence no longer holds, or it was
   * stale and another run has taken over its window.
   */
  finish(end: RunEnd): Promise<boolean>;
  /**
   * Marks runs as stale whose worker was silent for so long, the longest silent first, and returns them.
   * A worker that comes back continues its run under a new fence.
   */
  markStale(request: SilentRuns): Promise<RunIdentity[]>;
}

const beginStatement = defineStatement<
  | "runId"
  | "functionId"
  | "eventName"
  | "eventId"
  | "dispatchKey"
  | "continuation"
  | "lane"
  | "tenantId"
  | "correlationId"
  | "owner"
  | "holder"
  | "attempt"
>(`
WITH run AS (
  INSERT INTO evenkeel.background_function_run AS run (
    run_id, function_id, event_name, event_id, dispatch_key, continuation, lane,
    tenant_id, correlation_id, owner, holder
  )
  VALUES (:runId, :functionId, :eventName, :eventId, :dispatchKey, :continuation::int,
    :lane::evenkeel.lane, :tenantId, :correlationId, :owner, :holder::uuid)
  ON CONFLICT (run_id, function_id) DO UPDATE SET
    status = 'RUNNING', owner = excluded.owner, holder = excluded.holder, heartbeat_at = clock_timestamp(),
    -- Steps of one run may be under way at once in one process: they share its fence. A build that knows no holder
    -- leaves it as it was, and changes the owner.
    fence = CASE
      WHEN run.status = 'RUNNING' AND run.holder = excluded.holder AND run.owner = excluded.owner THEN run.fence
      ELSE gen_random_uuid()
    END
  WHERE run.status = 'RUNNING' OR (run.status = 'STALE' AND NOT ${wasTakenOver})
  RETURNING id, fence
), attempt AS (
  INSERT INTO evenkeel.background_function_attempt (run_row_id, attempt, owner)
  SELECT id, :attempt::int, :owner FROM run
  ON CONFLICT (run_row_id, attempt) DO UPDATE SET owner = excluded.owner
)
SELECT fence FROM run`);

const finishStatement = defineStatement<
  "runId" | "functionId" | "status" | "fence" | "output" | "error" | "duplicateOf"
>(`
WITH run AS (
  UPDATE evenkeel.background_function_run AS run SET
    status = :status::evenkeel.run_status,
    output = :output::jsonb,
    last_error = coalesce(:error, last_error),
    duplicate_of = :duplicateOf,
    heartbeat_at = clock_timestamp(),
    finished_at = clock_timestamp()
  WHERE run_id = :runId AND function_id = :functionId AND status IN ('RUNNING', 'STALE')
    AND (:fence::uuid IS NULL OR (fence = :fence::uuid AND (
      status = 'RUNNING' OR :status = 'SKIPPED_DUPLICATE' OR NOT ${wasTakenOver}
    )))
  RETURNING id
), attempts AS (
  UPDATE evenkeel.background_function_attempt AS attempt
  SET finished_at = clock_timestamp(), error = :error
  FROM run WHERE attempt.run_row_id = run.id AND attempt.finished_at IS NULL
)
SELECT id FROM run`);

const markStaleStatement = `
UPDATE evenkeel.background_function_run AS run SET status = 'STALE'
FROM (
  SELECT id FROM evenkeel.background_function_run
  WHERE status = 'RUNNING'
    AND heartbeat_at < clock_timestamp() - $1::bigint * interval '1 millisecond'
  ORDER BY heartbeat_at
  LIMIT $2::int
  FOR UPDATE SKIP LOCKED
) AS silent
WHERE run.id = silent.id
RETURNING run.run_id AS "runId", run.function_id AS "functionId"`;

/** Creates the run store on a connection pool. */
export function createRunStore(sql: SqlClient): RunStore {
  return {
    begin: async (start) => {
      const [row] = await sql.query<{ fence: string }>(
        beginStatement.text,
        beginStatement.values({
          runId: start.runId,
          functionId: start.functionId,
          eventName: toStorableText(start.eventName),
          eventId: storableOrNull(start.eventId),
          dispatchKey: storableOrNull(start.dispatchKey),
          continuation: start.continuation ?? 0,
          lane: start.lane ?? "stable",
          tenantId: storableOrNull(start.tenantId),
          correlationId: storableOrNull(start.correlationId),
          owner: start.owner,
          holder: start.holder ?? null,
          attempt: start.attempt,
        }),
      );
      return row === undefined ? undefined : { fence: row.fence };
    },
    finishAttempt: async ({ runId, functionId, attempt, error }) => {
      const rows = await sql.query(
        `UPDATE evenkeel.background_function_attempt AS attempt
         SET finished_at = clock_timestamp(), error = $4
         FROM evenkeel.background_function_run AS run
         WHERE run.run_id = $1 AND run.function_id = $2
           AND attempt.run_row_id = run.id AND attempt.attempt = $3::int AND attempt.finished_at IS NULL
         RETURNING attempt.attempt`,
        [runId, functionId, attempt, error === undefined ? null : redactError(error)],
      );
      return rows.length === 1;
    },
    heartbeat: async ({ runId, functionId, fence }) => {
      const rows = await sql.query(
        `UPDATE evenkeel.background_function_run SET heartbeat_at = clock_timestamp()
         WHERE run_id = $1 AND function_id = $2 AND fence = $3::uuid AND status = 'RUNNING'
         RETURNING id`,
        [runId, functionId, fence],
      );
      return rows.length === 1;
    },
    finish: async (end) => {
      const rows = await sql.query(
        finishStatement.text,
        finishStatement.values({
          runId: end.runId,
          functionId: end.functionId,
          status: end.status,
          fence: end.fence ?? null,
          output: encodeOutput(end.output),
          error: end.error === undefined ? null : redactError(end.error),
          duplicateOf: end.duplicateOf ?? null,
        }),
      );
      return rows.length === 1;
    },
    markStale: ({ silentMs, limit }) =>
      sql.query<RunIdentity>(markStaleStatement, [silentMs, limit]),
  };
}

function storableOrNull(text: string | undefined): string | null {
  return text === undefined ? null : toStorableText(text);
}
