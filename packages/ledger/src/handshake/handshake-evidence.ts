import type { Lane } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { hostJson, type HostRecord } from "../hosts/host.ts";

/** A function's runs that are alive. */
export interface RunningFunction {
  readonly functionId: string;
  readonly running: number;
  /** When the oldest of them started, ISO 8601. */
  readonly since: string;
}

/** What the ledger knows of why a handshake does not come back. */
export interface LedgerEvidence {
  /** Whether Postgres refuses writes here. */
  readonly isReadOnly: boolean;
  /** The hosts of the app, those whose lease ended in the last day too. */
  readonly hosts: readonly HostRecord[];
  /** Functions of the app with runs that gave a sign of life since nothing came back. They do so every 10 s. */
  readonly running: readonly RunningFunction[];
  /** Whether a maintenance run has started since nothing came back: it ran and made no mark. */
  readonly startedSince: string | null;
  /** Why the newest send failed, if it is newer than the newest that did not. */
  readonly sendError: string | null;
}

// A run that began as a duplicate, or in its first attempt just now, has not failed to make its mark.
const statement = `
SELECT current_setting('transaction_read_only') = 'on' AS "isReadOnly",
  coalesce((
    SELECT jsonb_agg(${hostJson} ORDER BY host.lease_expires_at DESC)
    FROM evenkeel.background_host AS host
    WHERE host.app_id = $1 AND host.lease_expires_at > clock_timestamp() - interval '1 day'
  ), '[]') AS hosts,
  coalesce((
    SELECT jsonb_agg(jsonb_build_object('functionId', busy.function_id, 'running', busy.running, 'since', busy.since))
    FROM (
      SELECT run.function_id, count(*)::int AS running, min(run.started_at) AS since
      FROM evenkeel.background_function_run AS run
      WHERE run.status = 'RUNNING' AND run.heartbeat_at > now() - interval '25 seconds'
        -- One that died with its host gave no sign since.
        AND run.heartbeat_at >= coalesce((
          SELECT handshake.unanswered_since FROM evenkeel.background_handshake AS handshake
          WHERE handshake.lane = $2::evenkeel.lane
        ), '-infinity')
        AND starts_with(run.function_id, $1 || '-')
      GROUP BY run.function_id
    ) AS busy
  ), '[]') AS running,
  (
    SELECT min(run.started_at) FROM evenkeel.background_handshake AS handshake
    JOIN evenkeel.background_function_run AS run ON run.dispatch_key = handshake.sent_key
      AND run.event_name = 'background/maintenance.requested' AND run.status <> 'SKIPPED_DUPLICATE'
    WHERE handshake.lane = $2::evenkeel.lane AND handshake.unanswered_since IS NOT NULL
      AND run.started_at < clock_timestamp() - interval '1 second'
  ) AS "startedSince",
  (
    SELECT failed.last_error FROM evenkeel.background_dispatch_window AS failed
    WHERE failed.status = 'ENQUEUE_FAILED' AND failed.updated_at > coalesce((
      SELECT max(sent.enqueued_at) FROM evenkeel.background_dispatch_window AS sent WHERE sent.status = 'ENQUEUED'
    ), '-infinity')
    ORDER BY failed.updated_at DESC LIMIT 1
  ) AS "sendError"`;

/** Returns what the ledger knows of why a lane's handshake does not come back. */
export async function readEvidence(
  sql: SqlClient,
  { appId, lane }: { readonly appId: string; readonly lane: Lane },
): Promise<LedgerEvidence> {
  const [row] = await sql.query<LedgerEvidence>(statement, [appId, lane]);
  if (row === undefined) throw new Error("The handshake's evidence came back without a row.");
  return row;
}
