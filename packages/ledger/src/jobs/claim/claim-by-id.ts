import type { Lane } from "@evenkeel/core";

import type { SqlClient } from "../../database/database.ts";
import { claimedColumns, toClaimedJob, type ClaimedRow } from "./claimed-row.ts";
import { notPaused } from "../limits.ts";
import type { ClaimedJob, JobClaim } from "../job.ts";

/** Which job to take over. */
export interface ClaimByIdRequest extends JobClaim {
  readonly lane: Lane;
  readonly types: readonly string[];
  readonly leaseMs: number;
  readonly owner: string;
}

/**
 * The fence is what makes a repeated or late request void. The claim that handed the job over may not have
 * been settled yet: its attempt is this one then.
 */
const statement = `
UPDATE evenkeel.background_job AS job
SET state = 'RUNNING',
  attempt = job.attempt + (job.state = 'PENDING')::int,
  progress = NULL,
  fence = job.fence + 1,
  owner = $6::text,
  lease_expires_at = now() + $5::int * interval '1 millisecond'
WHERE job.id = $1::bigint AND job.fence = $2::bigint AND job.lane = $3::evenkeel.lane
  AND job.type IN (SELECT jsonb_array_elements_text($4::jsonb))
  AND ${notPaused("job.tenant_id")} AND NOT EXISTS (
    SELECT FROM evenkeel.background_job_limit AS closed
    WHERE closed.paused AND (closed.kind = 'QUEUE' OR (closed.kind = 'TYPE' AND closed.subject = job.type))
  )
RETURNING ${claimedColumns}`;

/** See {@link JobStore.claimById}. */
export async function claimJobById(
  sql: SqlClient,
  { id, fence, lane, types, leaseMs, owner }: ClaimByIdRequest,
): Promise<ClaimedJob | undefined> {
  const values = [id, fence, lane, JSON.stringify(types), leaseMs, owner];
  const [row] = await sql.query<ClaimedRow>(statement, values);
  return row === undefined ? undefined : toClaimedJob(row);
}
