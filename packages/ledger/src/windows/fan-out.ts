import type { SqlClient } from "../database/database.ts";
import { defineStatement } from "../database/statement.ts";
import { textArray } from "../database/text-array.ts";
import type { FanOutState } from "./window.ts";

/** One page that was fanned out. */
export interface FanOutStep {
  readonly dispatchKey: string;
  /** The cursor that the page was read behind: the step counts only where the record stands there. */
  readonly from: string | null;
  /** The cursor of the next page; `null`: this was the last. */
  readonly to: string | null;
  readonly tenants: number;
  readonly skipped: number;
}

/** Which tenants' jobs to look for: of a type, with unique keys from one up to another, but for one of them. */
export interface StartedJobs {
  readonly type: string;
  readonly tenantIds: readonly string[];
  readonly fromKey: string;
  readonly untilKey: string;
  readonly exceptKey: string;
}

const beginStatement = `
UPDATE evenkeel.background_dispatch_window
SET fan_out = coalesce(fan_out, jsonb_build_object('cursor', NULL, 'tenants', 0, 'skipped', 0,
    'startedAt', clock_timestamp(), 'finishedAt', NULL)), updated_at = clock_timestamp()
WHERE dispatch_key = $1
RETURNING fan_out AS state`;

// Whoever comes second with a page finds the cursor moved, and stops.
const stepStatement = defineStatement<keyof FanOutStep>(`
UPDATE evenkeel.background_dispatch_window SET updated_at = clock_timestamp(),
  fan_out = fan_out || jsonb_build_object('cursor', :to::text,
    'tenants', (fan_out->>'tenants')::int + :tenants::int, 'skipped', (fan_out->>'skipped')::int + :skipped::int,
    'finishedAt', CASE WHEN :to::text IS NULL THEN clock_timestamp() END)
WHERE dispatch_key = :dispatchKey AND fan_out->>'finishedAt' IS NULL
  AND fan_out->>'cursor' IS NOT DISTINCT FROM :from::text
RETURNING dispatch_key`);

const unsettledStatement = `
SELECT tenant_id AS "tenantId" FROM unnest($1::text::text[]) AS asked (tenant_id)
WHERE EXISTS (
  SELECT FROM evenkeel.background_job AS job
  WHERE job.tenant_id = asked.tenant_id COLLATE "C" AND job.type = $2
    AND job.unique_key >= $3 AND job.unique_key < $4 AND job.unique_key <> $5
)`;

/** Returns how far a window was fanned out, and notes that it began; `undefined`: it is not on record. */
export async function beginFanOut(
  sql: SqlClient,
  dispatchKey: string,
): Promise<FanOutState | undefined> {
  const [row] = await sql.query<{ readonly state: FanOutState }>(beginStatement, [dispatchKey]);
  return row?.state;
}

/** Records a page. `false`: another worker has recorded it, and goes on. */
export async function stepFanOut(sql: SqlClient, step: FanOutStep): Promise<boolean> {
  const { dispatchKey, from, to, tenants, skipped } = step;
  const values = stepStatement.values({ dispatchKey, from, to, tenants, skipped });
  return (await sql.query(stepStatement.text, values)).length === 1;
}

/** Returns those of the tenants that have an unsettled job of these. */
export async function findUnsettled(sql: SqlClient, jobs: StartedJobs): Promise<string[]> {
  const { type, tenantIds, fromKey, untilKey, exceptKey } = jobs;
  const values = [textArray(tenantIds), type, fromKey, untilKey, exceptKey];
  const rows = await sql.query<{ readonly tenantId: string }>(unsettledStatement, values);
  return rows.map(({ tenantId }) => tenantId);
}
