import type { RunStatus } from "./run.ts";
import type { RunIdentity } from "./run-store.ts";
import { pageLimit, type Page } from "../database/page.ts";
import type { Scope } from "../database/tenant-scope.ts";

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

const recordColumns = `"r"."run_id" AS "runId", "r"."function_id" AS "functionId",
  "r"."dispatch_key" AS "dispatchKey", "r"."continuation", "r"."event_name" AS "eventName",
  "r"."tenant_id" AS "tenantId", "r"."status", "r"."owner", "r"."duplicate_of" AS "duplicateOf", "r"."output",
  "r"."last_error" AS "lastError", "r"."heartbeat_at" AS "heartbeatAt", "r"."started_at" AS "startedAt",
  "r"."finished_at" AS "finishedAt", coalesce((
    SELECT jsonb_agg(
      jsonb_build_object('attempt', "a"."attempt", 'owner', "a"."owner", 'error', "a"."error")
      ORDER BY "a"."attempt")
    FROM "evenkeel"."background_function_attempt" AS "a" WHERE "a"."run_row_id" = "r"."id"
  ), '[]') AS "attempts"`;

const findStatement = `
SELECT ${recordColumns} FROM "evenkeel"."background_function_run" AS "r"
WHERE "r"."run_id" = $1 AND "r"."function_id" = $2 AND :tenant("r"."tenant_id")`;

const listStatement = `
SELECT ${recordColumns} FROM "evenkeel"."background_function_run" AS "r"
WHERE :tenant("r"."tenant_id")
  AND ($1::text IS NULL OR "r"."status"::text = $1)
  AND ($2::text IS NULL OR "r"."function_id" = $2)
  AND ($3::text IS NULL OR "r"."dispatch_key" = $3)
  AND ($4::text IS NULL OR "r"."started_at" < (
    SELECT min("b"."started_at") FROM "evenkeel"."background_function_run" AS "b"
    WHERE "b"."run_id" = $4 AND :tenant("b"."tenant_id")))
ORDER BY "r"."started_at" DESC LIMIT $5::int`;

/** Runs within a scope. */
export function createScopedRuns(scope: Scope): ScopedRuns {
  return {
    find: async ({ runId, functionId }) =>
      (await scope.query<RunRecord>(findStatement, [runId, functionId]))[0],
    list: ({ status, functionId, dispatchKey, before, limit } = {}) =>
      scope.query<RunRecord>(listStatement, [
        status ?? null,
        functionId ?? null,
        dispatchKey ?? null,
        before ?? null,
        pageLimit(limit),
      ]),
  };
}
