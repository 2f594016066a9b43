import type { Lane } from "@evenkeel/core";

import type { SqlClient } from "../../database/database.ts";
import { defineStatement } from "../../database/statement.ts";
import type { ClaimedJob, JobClaim } from "../job.ts";
import { notPaused } from "../limits.ts";
import { claimedColumns, toClaimedJob, type ClaimedRow } from "./claimed-row.ts";

/** Which job to take over. */
export interface ClaimByIdRequest extends JobClaim {
  readonly lane: Lane;
  /** The types that this host has handlers for; a job of another is left as it is. */
  readonly types: readonly string[];
  /** Milliseconds until another may claim the job, unless a heartbeat renews the lease. */
  readonly leaseMs: number;
  /** Who holds the lease, for people. */
  readonly owner: string;
}

/**
 * The fence makes a repeated or late request void. The claim that delegated the job may not have been settled yet. FOR
 * UPDATE waits for transactions that met the job under its unique key, as claims pass it.
 */
const takeOver = defineStatement<"id" | "fence" | "lane" | "types" | "leaseMs" | "owner">(`
UPDATE evenkeel.background_job AS job
SET state = 'RUNNING', fence = job.fence + 1, lane = :lane::evenkeel.lane, owner = :owner::text, progress = NULL,
  started_at = NULL,
  lease_expires_at = now() + :leaseMs::int * interval '1 millisecond'
WHERE job.id = (
    SELECT id FROM evenkeel.background_job WHERE id = :id::bigint AND fence = :fence::bigint FOR UPDATE
  )
  AND job.type IN (SELECT jsonb_array_elements_text(:types::jsonb))
  AND ${notPaused("job.tenant_id")} AND NOT EXISTS (
    SELECT FROM evenkeel.background_job_limit AS closed
    WHERE closed.paused AND (closed.kind = 'QUEUE' OR (closed.kind = 'TYPE' AND closed.subject = job.type))
  )
RETURNING ${claimedColumns}`);

/**
 * Takes over a job that was delegated under this fence, due or not, under a new one.
 *
 * @returns `undefined`: it was claimed since, has ended, is paused, or is not of these types.
 */
export async function claimJobById(
  sql: SqlClient,
  { id, fence, lane, types, leaseMs, owner }: ClaimByIdRequest,
): Promise<ClaimedJob | undefined> {
  const values = { id, fence, lane, types: JSON.stringify(types), leaseMs, owner };
  const [row] = await sql.query<ClaimedRow>(takeOver.text, takeOver.values(values));
  return row === undefined ? undefined : toClaimedJob(row);
}
