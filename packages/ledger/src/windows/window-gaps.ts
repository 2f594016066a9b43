import type { SqlClient } from "../database/database.ts";
import type { StartedWindow, MissedWindow } from "./window-store.ts";

const recordMissedStatement = `
INSERT INTO "evenkeel"."background_dispatch_window" (
  "dispatch_key", "schedule", "scope", "tenant_id", "window_start", "window_seconds", "lane",
  "owner", "correlation_id", "fence", "status", "claim_count"
)
SELECT "m"."dispatchKey", "m"."schedule", "m"."scope", "m"."tenantId", "m"."windowStart",
  "m"."windowSeconds", "m"."lane", "m"."owner", 'watchdog', gen_random_uuid(), 'MISSED', 0
FROM jsonb_to_recordset($1::jsonb) AS "m" (
  "dispatchKey" text, "schedule" text, "scope" text, "tenantId" text, "windowStart" timestamptz,
  "windowSeconds" int, "lane" "evenkeel"."lane", "owner" text
)
ON CONFLICT ("dispatch_key") DO NOTHING
RETURNING "dispatch_key"`;

// A claim that is under way or has failed is its host's or the reconciler's: they hold or take a fence.
const recordStartedStatement = `
INSERT INTO "evenkeel"."background_dispatch_window" AS "w" (
  "dispatch_key", "schedule", "scope", "tenant_id", "window_start", "window_seconds", "lane",
  "owner", "correlation_id", "fence", "status", "claim_count", "enqueued_at", "params"
)
VALUES ($1, $2, $3, $4, $5::timestamptz, $6::int, $7::"evenkeel"."lane", $8, $9, gen_random_uuid(),
  'ENQUEUED', 0, clock_timestamp(), $10::jsonb)
ON CONFLICT ("dispatch_key") DO UPDATE SET
  "status" = 'ENQUEUED', "enqueued_at" = excluded."enqueued_at", "updated_at" = clock_timestamp()
WHERE "w"."status" = 'MISSED'
RETURNING "dispatch_key"`;

const unrecordedStatement = `
SELECT "key" FROM jsonb_array_elements_text($1::jsonb) WITH ORDINALITY AS "asked" ("key", "place")
WHERE NOT EXISTS (
  SELECT FROM "evenkeel"."background_dispatch_window" AS "w" WHERE "w"."dispatch_key" = "asked"."key"
)
ORDER BY "place"`;

/** See `WindowStore.recordMissed`. */
export async function recordMissed(
  sql: SqlClient,
  missed: readonly MissedWindow[],
): Promise<number> {
  return (await sql.query(recordMissedStatement, [JSON.stringify(missed)])).length;
}

/** See `WindowStore.recordStarted`. */
export async function recordStarted(sql: SqlClient, window: StartedWindow): Promise<boolean> {
  const rows = await sql.query(recordStartedStatement, [
    window.dispatchKey,
    window.schedule,
    window.scope,
    window.tenantId ?? null,
    window.windowStart.toISOString(),
    window.windowSeconds,
    window.lane,
    window.owner,
    window.correlationId,
    window.params === undefined ? null : JSON.stringify(window.params),
  ]);
  return rows.length === 1;
}

/** See `WindowStore.unrecorded`. */
export async function findUnrecorded(
  sql: SqlClient,
  dispatchKeys: readonly string[],
): Promise<string[]> {
  const rows = await sql.query<{ key: string }>(unrecordedStatement, [
    JSON.stringify(dispatchKeys),
  ]);
  return rows.map(({ key }) => key);
}
