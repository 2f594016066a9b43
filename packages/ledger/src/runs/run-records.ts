import { listRows, rowsOfIds } from "../database/list-rows.ts";
import { newestFirst } from "../database/newest-first.ts";
import { pageLimit, type Page } from "../database/page.ts";
import { defineStatement, type Statement } from "../database/statement.ts";
import type { Scope } from "../database/tenant-scope.ts";
import { runTransitions, type RunIdentity, type RunStatus } from "./run.ts";

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

/** The runs whose keys a tenant's list found, in its order. */
const readStatement = `
SELECT ${recordColumns} FROM evenkeel.background_function_run AS run
WHERE run.id = ANY ($1::text::uuid[]) AND :tenant(run.tenant_id)
ORDER BY run.started_at DESC, run.id DESC`;

type Parameter = "statuses" | "tenantId" | "functionId" | "dispatchKey" | "before" | "limit";

/**
 * The statement of a page: each status from an index by window, by tenant or by function, the first of these that is
 * given. The other conditions are looked at row by row. In a tenant's scope it finds the keys of the page.
 */
function runListStatement(filter: RunFilter, hasOneTenant: boolean): Statement<Parameter> {
  const { functionId, dispatchKey, before } = filter;
  const lead =
    dispatchKey !== undefined
      ? (["dispatch_key", ":dispatchKey::text"] as const)
      : hasOneTenant
        ? (["tenant_id", "asked.tenant_id"] as const)
        : functionId === undefined
          ? undefined
          : (["function_id", ":functionId::text"] as const);
  // A window has a handful of runs.
  const isOfWindow = dispatchKey !== undefined;
  const isBehind = before !== undefined;
  const page = newestFirst({
    relation: "background_function_run",
    alias: "run",
    key: isOfWindow ? [] : [...(lead === undefined ? [] : [lead]), ["status", "asked.status"]],
    time: "started_at",
    id: "id",
    where: [
      ":tenant(run.tenant_id)",
      ...(isOfWindow ? ["run.dispatch_key = :dispatchKey::text", "run.status = asked.status"] : []),
      ...(functionId === undefined || lead?.[0] === "function_id"
        ? []
        : ["run.function_id = :functionId::text"]),
    ],
    isBehind,
  });
  return defineStatement<Parameter>(`
WITH ${
    isBehind
      ? `last_seen AS MATERIALIZED (
  SELECT run.started_at AS at, run.id FROM evenkeel.background_function_run AS run
  WHERE run.run_id = :before AND :tenant(run.tenant_id)
  ORDER BY run.started_at, run.id LIMIT 1
), `
      : ""
  }asked AS (
  SELECT unnest(:statuses::text::evenkeel.run_status[]) AS status, :tenantId::text AS tenant_id
)
SELECT ${hasOneTenant ? "run.id::text" : recordColumns} FROM asked CROSS JOIN LATERAL ${page} AS run
ORDER BY run.started_at DESC, run.id DESC LIMIT :limit::int`);
}

const everyStatus = "{RUNNING,SUCCEEDED,FAILED,CANCELLED,STALE,SKIPPED_DUPLICATE}";

/** Creates the runs of a scope. */
export function createScopedRuns(scope: Scope): ScopedRuns {
  return {
    find: async ({ runId, functionId }) =>
      (await scope.query<RunRecord>(findStatement, [runId, functionId]))[0],
    list: async (filter = {}) => {
      const { status, functionId, dispatchKey, before, limit } = filter;
      if (status !== undefined && !(status in runTransitions)) return [];
      const statement = runListStatement(filter, scope.tenantId !== undefined);
      const values = statement.values({
        statuses: status === undefined ? everyStatus : `{${status}}`,
        tenantId: scope.tenantId ?? null,
        functionId: functionId ?? null,
        dispatchKey: dispatchKey ?? null,
        before: before ?? null,
        limit: pageLimit(limit),
      });
      return listRows(scope, { text: statement.text, values }, rowsOfIds(readStatement));
    },
  };
}
