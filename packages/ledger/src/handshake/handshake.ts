import type { Lane } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { defineStatement } from "../database/statement.ts";

/*
 * The handshake: whether what is sent comes back.
 *
 * - Each maintenance event that is sent notes its dispatch key. While nothing comes back, `unanswered_since` keeps the
 *   time of the first.
 * - The run that the event starts marks its key back, as its first step. The newest key that was sent ends the wait; an
 *   older one moves it to the newest, which is still out.
 * - Besides, a window that was sent a minute ago and has no run is named: real work watches itself.
 */

/** Where a lane's handshake stands. Times are the database's, ISO 8601. */
export interface HandshakeReading {
  /** The newest handshake that was sent; `null`: none ever was. */
  readonly sentAt: string | null;
  readonly sentKey: string | null;
  /** The build that sent it. */
  readonly sentBuild: string | null;
  /** The newest that came back, and how long it took in milliseconds. */
  readonly okAt: string | null;
  readonly roundTripMs: number | null;
  /** Since when nothing that was sent has come back, and for how many milliseconds; `null`: the newest did. */
  readonly unansweredSince: string | null;
  readonly unansweredMs: number | null;
  /** When the oldest window was sent that has no run a minute later, of the last twenty; `null`: each has one. */
  readonly unstartedSince: string | null;
}

/** How long a window that was sent may wait for its run before it is named, in seconds. */
const unstartedAfterSeconds = 60;

/**
 * The expression of a lane's {@link HandshakeReading}, for a statement of its own or as a column of another. It costs
 * two index scans of at most twenty rows.
 */
export function readingOf(lane: string): string {
  // now() and not clock_timestamp(): it bounds the scan of an index.
  return `(
  SELECT jsonb_build_object(
    'sentAt', handshake.sent_at, 'sentKey', handshake.sent_key, 'sentBuild', handshake.sent_build,
    'okAt', handshake.ok_at, 'roundTripMs', handshake.round_trip_ms,
    'unansweredSince', handshake.unanswered_since,
    'unansweredMs', (extract(epoch FROM clock_timestamp() - handshake.unanswered_since) * 1000)::bigint,
    'unstartedSince', (
      SELECT min(sent.enqueued_at) FROM (
        SELECT dispatch_window.dispatch_key, dispatch_window.enqueued_at
        FROM evenkeel.background_dispatch_window AS dispatch_window
        WHERE dispatch_window.status = 'ENQUEUED' AND dispatch_window.lane = ${lane}
          -- Upkeep alone is watched by its own return, and a product's own function may leave no run.
          AND dispatch_window.events ? 'background/process.requested'
          AND dispatch_window.enqueued_at < now() - interval '${unstartedAfterSeconds} seconds'
          AND dispatch_window.enqueued_at > now() - interval '1 hour'
        ORDER BY dispatch_window.enqueued_at DESC LIMIT 20
      ) AS sent
      WHERE NOT EXISTS (
        SELECT FROM evenkeel.background_function_run AS run
        WHERE run.dispatch_key = sent.dispatch_key AND run.event_name <> 'background/maintenance.requested'
        -- It stays a probe per window, and is never turned into a join that reads every run.
        OFFSET 0
      )
    )
  )
  FROM (SELECT 1) AS one
  LEFT JOIN evenkeel.background_handshake AS handshake ON handshake.lane = ${lane}
)`;
}

/** The statement of {@link readHandshake}; `$1` is the lane. */
export const readStatement: string = `SELECT ${readingOf("$1::evenkeel.lane")} AS reading`;

/** Returns where a lane's handshake stands. */
export async function readHandshake(sql: SqlClient, lane: Lane): Promise<HandshakeReading> {
  const [row] = await sql.query<{ readonly reading: HandshakeReading }>(readStatement, [lane]);
  if (row === undefined) throw new Error("A reading of the handshake came back without a row.");
  return row.reading;
}

/**
 * The statement that notes that a handshake was sent, over a relation with `lane`, `dispatch_key` and `build`. Where
 * many are sent at once, one a second is noted, and the others wait for no row.
 */
export function noteSent(relation: string): string {
  return `
  INSERT INTO evenkeel.background_handshake AS handshake (lane, sent_key, sent_at, sent_build, unanswered_since)
  SELECT ${relation}.lane, ${relation}.dispatch_key, clock_timestamp(), ${relation}.build, clock_timestamp()
  FROM ${relation}
  WHERE NOT EXISTS (
    SELECT FROM evenkeel.background_handshake AS recent
    WHERE recent.lane = ${relation}.lane AND recent.sent_at > clock_timestamp() - interval '1 second'
      AND recent.sent_key <> coalesce(recent.ok_key, '')
  )
  ON CONFLICT (lane) DO UPDATE SET
    sent_key = excluded.sent_key, sent_at = excluded.sent_at, sent_build = excluded.sent_build,
    -- It may have come back before this was written.
    round_trip_ms = CASE WHEN handshake.ok_key = excluded.sent_key THEN 0 ELSE handshake.round_trip_ms END,
    unanswered_since = CASE WHEN handshake.ok_key = excluded.sent_key THEN NULL
      ELSE coalesce(handshake.unanswered_since, excluded.sent_at) END`;
}

const beginStatement = defineStatement<"lane" | "key" | "build">(`
INSERT INTO evenkeel.background_handshake AS handshake (lane, sent_key, sent_build, start_key, unanswered_since)
VALUES (:lane::evenkeel.lane, :key, :build, :key, clock_timestamp())
ON CONFLICT (lane) DO UPDATE SET
  sent_key = excluded.sent_key, sent_at = clock_timestamp(), sent_build = excluded.sent_build,
  start_key = excluded.start_key,
  unanswered_since = coalesce(handshake.unanswered_since, clock_timestamp())
WHERE handshake.start_key IS DISTINCT FROM excluded.start_key
RETURNING lane`);

/** A handshake that is sent. */
export interface SentHandshake {
  readonly lane: Lane;
  /** The dispatch key in its event. */
  readonly dispatchKey: string;
  /** The build that sends it; empty where it has no name. */
  readonly build: string;
}

/** Notes a handshake that a host sends as it starts. `false`: another host sends, or has sent, this very one. */
export async function beginHandshake(sql: SqlClient, sent: SentHandshake): Promise<boolean> {
  const { lane, dispatchKey, build } = sent;
  const values = beginStatement.values({ lane, key: dispatchKey, build });
  return (await sql.query(beginStatement.text, values)).length === 1;
}

const noteStatement = `
WITH noted AS (SELECT $1::evenkeel.lane AS lane, $2::text AS dispatch_key, $3::text AS build)
${noteSent("noted")}`;

/** Notes a handshake that was sent. */
export async function noteHandshake(sql: SqlClient, sent: SentHandshake): Promise<void> {
  await sql.query(noteStatement, [sent.lane, sent.dispatchKey, sent.build]);
}

const backStatement = `
INSERT INTO evenkeel.background_handshake AS handshake (lane, sent_key, ok_key, ok_at)
VALUES ($1::evenkeel.lane, $2, $2, clock_timestamp())
ON CONFLICT (lane) DO UPDATE SET
  ok_key = excluded.ok_key, ok_at = excluded.ok_at,
  round_trip_ms = CASE WHEN handshake.sent_key = excluded.ok_key
    THEN greatest(0, extract(epoch FROM excluded.ok_at - handshake.sent_at) * 1000)::int
    ELSE handshake.round_trip_ms END,
  unanswered_since = CASE WHEN handshake.sent_key = excluded.ok_key OR handshake.unanswered_since IS NULL THEN NULL
    ELSE handshake.sent_at END
WHERE handshake.ok_key IS DISTINCT FROM excluded.ok_key`;

/** Marks a handshake back: its run has reached the ledger. A second mark of one key changes nothing. */
export async function markHandshakeBack(
  sql: SqlClient,
  back: Pick<SentHandshake, "lane" | "dispatchKey">,
): Promise<void> {
  await sql.query(backStatement, [back.lane, back.dispatchKey]);
}
