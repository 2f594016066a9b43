import type { Lane } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { defineStatement } from "../database/statement.ts";

/** What a host serves functions as. Replicas of one address and build are one registration. */
export interface HostIdentity {
  /** The app's id in Inngest. */
  readonly appId: string;
  /** Where Inngest reaches it, without a query; empty: not known yet. */
  readonly serveUrl: string;
  readonly lane: Lane;
  readonly environment: string;
  /** The app's release; empty where it has no name. */
  readonly build: string;
  /** The Inngest SDK and its version: `inngest@4.24.0`. */
  readonly sdk: string;
}

/** Why a call of Inngest's was refused: its signature is not of our key, or was made at another time than now. */
export type CallRefusal = "signature" | "expired";

/** What a host saw since it registered last. */
export interface HostObservation {
  /** How long ago a call was accepted, in milliseconds; absent: none since. */
  readonly calledMsAgo?: number;
  /** How long ago a call was refused, in milliseconds; absent: none since. */
  readonly refusedMsAgo?: number;
  readonly refusal?: CallRefusal;
  /** How far the clock of the newest signature runs ahead of the host's, in milliseconds. */
  readonly signatureSkewMs?: number;
}

/** A host that serves functions. Times are the database's, ISO 8601. */
export interface HostRecord extends HostIdentity {
  readonly registeredAt: string;
  readonly leaseExpiresAt: string;
  /** Whether its lease holds. */
  readonly isLive: boolean;
  readonly calledAt: string | null;
  readonly refusedAt: string | null;
  readonly refusal: CallRefusal | null;
  readonly signatureSkewMs: number | null;
  /** How far the database's clock runs ahead of the host's, in milliseconds. */
  readonly databaseSkewMs: number | null;
}

/** The columns of a {@link HostRecord} as one JSON object, over a row named `host`. */
export const hostJson = `jsonb_build_object(
  'appId', host.app_id, 'serveUrl', host.serve_url, 'lane', host.lane, 'environment', host.environment,
  'build', host.build, 'sdk', host.sdk, 'registeredAt', host.registered_at, 'leaseExpiresAt', host.lease_expires_at,
  'isLive', host.lease_expires_at > clock_timestamp(), 'calledAt', host.called_at, 'refusedAt', host.refused_at,
  'refusal', host.refusal, 'signatureSkewMs', host.signature_skew_ms, 'databaseSkewMs', host.database_skew_ms
)`;

// What is longer gone than a day helps nobody. It is deleted here, as every host comes by.
const registerStatement = defineStatement<
  | "appId"
  | "serveUrl"
  | "lane"
  | "environment"
  | "build"
  | "sdk"
  | "leaseMs"
  | "calledMsAgo"
  | "refusedMsAgo"
  | "refusal"
  | "signatureSkewMs"
  | "hostNow"
>(`
WITH gone AS (
  DELETE FROM evenkeel.background_host WHERE lease_expires_at < clock_timestamp() - interval '1 day'
), registered AS (
  INSERT INTO evenkeel.background_host AS host (
    app_id, serve_url, lane, environment, build, sdk, lease_expires_at,
    called_at, refused_at, refusal, signature_skew_ms, database_skew_ms
  )
  VALUES (
    :appId, :serveUrl, :lane::evenkeel.lane, :environment, :build, :sdk,
    clock_timestamp() + :leaseMs::double precision * interval '1 millisecond',
    clock_timestamp() - :calledMsAgo::double precision * interval '1 millisecond',
    clock_timestamp() - :refusedMsAgo::double precision * interval '1 millisecond',
    :refusal, :signatureSkewMs::bigint,
    (extract(epoch FROM clock_timestamp() - :hostNow::timestamptz) * 1000)::bigint
  )
  ON CONFLICT (app_id, serve_url, lane, environment, build) DO UPDATE SET
    sdk = excluded.sdk,
    lease_expires_at = greatest(host.lease_expires_at, excluded.lease_expires_at),
    called_at = greatest(host.called_at, excluded.called_at),
    refused_at = greatest(host.refused_at, excluded.refused_at),
    refusal = coalesce(excluded.refusal, host.refusal),
    signature_skew_ms = coalesce(excluded.signature_skew_ms, host.signature_skew_ms),
    database_skew_ms = excluded.database_skew_ms
)
SELECT DISTINCT host.serve_url AS "serveUrl"
FROM evenkeel.background_host AS host
WHERE host.app_id = :appId AND host.environment = :environment AND :serveUrl <> ''
  AND host.serve_url NOT IN ('', :serveUrl) AND host.lease_expires_at > clock_timestamp()
ORDER BY 1`);

/** What {@link registerHost} records. */
export interface HostRegistration extends HostIdentity, HostObservation {
  /** How long the registration is good for, in milliseconds. */
  readonly leaseMs: number;
  /** The host's own time. */
  readonly now: Date;
}

/**
 * Registers a host that serves functions, or renews its lease, and returns the other addresses that serve the same app
 * in the same environment now: there should be none.
 */
export async function registerHost(
  sql: SqlClient,
  registration: HostRegistration,
): Promise<string[]> {
  const { calledMsAgo, refusedMsAgo, refusal, signatureSkewMs, now, ...identity } = registration;
  const rows = await sql.query<{ readonly serveUrl: string }>(
    registerStatement.text,
    registerStatement.values({
      ...identity,
      calledMsAgo: calledMsAgo ?? null,
      refusedMsAgo: refusedMsAgo ?? null,
      refusal: refusal ?? null,
      signatureSkewMs: signatureSkewMs === undefined ? null : Math.round(signatureSkewMs),
      hostNow: now.toISOString(),
    }),
  );
  return rows.map(({ serveUrl }) => serveUrl);
}
