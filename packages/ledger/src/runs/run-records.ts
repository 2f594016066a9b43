import { pageLimit, type Page } from "../database/page.ts";
import { defineStatement } from "../database/statement.ts";
import type { Scope } from "../database/tenant-scope.ts";
import type { RunIdentity, RunStatus } from "./run.ts";

/** A run as recorded. */
export interface RunRecord extends RunIdentity {
  readonly dispatchKey: string | null;
  readonly continuation: number;
  readonly eventName: string;
  readonly tenantId: string | null;
  readonly status: RunStatus;
  readonly owner: string;
  readonly duplicateOf: string | null;
  readonly output: unknown;
  readonly lastError: string | null;
  readonly heartbeatAt: Date;
  readonly startedAt: Date;
  readonly finishedAt: Date | null;
  readonly attempts: readonly {
    readonly attempt: number;
    readonly owner: string;
    readonly error: string | null;
  }[];
}

/** Which runs to list. `before` is a run's Inngest id. */
export interface RunFilter extends Page {
  readonly status?: RunStatus;
  readonly functionId?: string;
  readonly dispatchKey?: string;
}

/** Runs, as far as a scope reaches. A run of a global dispatch is no tenant's. */
export interface ScopedRuns {
  find(run: RunIdentity): Promise<RunRecord | undefined>;
  /** The newest first. */
  list(filter?: RunFilter): Promise<RunRecord[]>;
}

const recordColumns = `run.run_id AS "runId", run.function_id AS "functionId",
  run.dispatch_key AS "dispatchKey", run.continuation, run.event_name AS "eventName",
  run.tenant_id AS "tenantId", run.status, run.owner, run.duplicate_of AS "duplicateOf", run.output,
  run.last_error AS "lastError", run.heartbeat_at AS "heartbeatAt", run.started_at AS "startedAt",
  run.finished_at AS "finishedAt", coalesce((
    SELECT jsonb_agg(
      jsonb_build_object('attempt', attempt.attempt, 'owner', attempt.owner, 'error', attempt.error)
      ORDER BY attempt.attempt)
    FROM evenkeel.background_function_attempt AS attempt WHERE attempt.run_row_id = run.id
  ), '[]') AS attempts`;

const findStatement = `
SELECT ${recordColumns} FROM evenkeel.background_function_run AS run
WHERE run.run_id = $1 AND run.function_id = $2 AND :tenant(run.tenant_id)`;

const listStatement = defineStatement<
  "status" | "functionId" | "dispatchKey" | "before" | "limit"
>(`
SELECT ${recordColumns} FROM evenkeel.background_function_run AS run
WHERE :tenant(run.tenant_id)
  AND (:status::text IS NULL OR run.status::text = :status)
  AND (:functionId::text IS NULL OR run.function_id = :functionId)
  AND (:dispatchKey::text IS NULL OR run.dispatch_key = :dispatchKey)
  AND (:before::text IS NULL OR run.started_at < (
    SELECT min(last_seen.started_at) FROM evenkeel.background_function_run AS last_seen
    WHERE last_seen.run_id = :before AND :tenant(last_seen.tenant_id)))
ORDER BY run.started_at DESC LIMIT :limit::int`);

/** Creates the runs of a scope. */
export function createScopedRuns(scope: Scope): ScopedRuns {
  return {
    find: async ({ runId, functionId }) =>
      (await scope.query<RunRecord>(findStatement, [runId, functionId]))[0],
    list: ({ status, functionId, dispatchKey, before, limit } = {}) =>
      scope.query<RunRecord>(
        listStatement.text,
        listStatement.values({
          status: status ?? null,
          functionId: functionId ?? null,
          dispatchKey: dispatchKey ?? null,
          before: before ?? null,
          limit: pageLimit(limit),
        }),
      ),
  };
}
