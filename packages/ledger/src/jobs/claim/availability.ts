import type { SqlClient } from "../../database/database.ts";
import { defineStatement, type Statement } from "../../database/statement.ts";
import { textArray } from "../../database/text-array.ts";
import { attemptFields, errorsWith } from "../attempt-record.ts";
import type { ClaimRequest } from "../job.ts";
import type { ClaimWatermarks } from "./watermarks.ts";

/** Most jobs that one statement makes available: this many, and up to ten times as many while there are more. */
const batch = 1_000;

/** The least time between two updates, in milliseconds, and the part of the time that they may take. */
const minMs = 100;
const maxShare = 0.02;

/** How often it is noted which types a host has handlers for, in milliseconds. */
const noteMs = 60_000;

/** The error of an attempt whose worker died; null for a job that was only held. */
const leaseError = `CASE WHEN job.started_at IS NOT NULL THEN jsonb_build_object(
        'code', 'lease_expired',
        'message', 'The worker ' || COALESCE(job.owner, '') || ' stopped renewing its lease.'
      ) || ${attemptFields} END`;

/**
 * Makes available what is due, of the types and versions asked for, and what leases that expired left, of all types. A
 * job that was only held goes back as it was; one whose handler had started has lost its attempt, and a worker.
 *
 * SKIP LOCKED: hosts that do this at once share the work. now(): an index scan needs a stable bound.
 */
export const availabilityStatement: Statement<"types" | "versions" | "most"> = defineStatement(`
WITH
  due AS MATERIALIZED (
    SELECT job.id
    FROM unnest(:types::text::text[]) AS known (type)
    CROSS JOIN LATERAL (
      SELECT job.id FROM evenkeel.background_job AS job
      WHERE job.state = 'SCHEDULED' AND job.type = known.type AND job.run_at <= now()
        AND job.version <= COALESCE((:versions::jsonb ->> known.type)::int, job.version)
      ORDER BY job.run_at LIMIT :most::int FOR UPDATE SKIP LOCKED
    ) AS job
    LIMIT :most::int
  ),
  expired AS MATERIALIZED (
    SELECT job.id FROM evenkeel.background_job AS job
    WHERE job.state = 'RUNNING' AND job.lease_expires_at <= now()
    ORDER BY job.lease_expires_at LIMIT :most::int FOR UPDATE SKIP LOCKED
  ),
  promoted AS (
    UPDATE evenkeel.background_job AS job SET state = 'PENDING'
    WHERE job.id = ANY (ARRAY(SELECT id FROM due))
    RETURNING job.turn_at
  ),
  swept AS (
    UPDATE evenkeel.background_job AS job
    SET state = 'PENDING', lane = NULL, owner = NULL, lease_expires_at = NULL, started_at = NULL, capped = false,
      crashes = job.crashes + (job.started_at IS NOT NULL)::int,
      errors = ${errorsWith(`(${leaseError})`)}
    WHERE job.id = ANY (ARRAY(SELECT id FROM expired))
    RETURNING job.turn_at
  )
SELECT (SELECT count(*) FROM promoted)::int AS promoted, (SELECT count(*) FROM swept)::int AS swept,
  (SELECT min(turn_at)::text FROM (SELECT * FROM promoted UNION ALL SELECT * FROM swept) AS both_ways) AS lowest`);

const noteStatement = `
INSERT INTO evenkeel.background_job_handler AS handler (type, version, owner)
SELECT known.key, known.value::int, $2 FROM jsonb_each_text($1::jsonb) AS known ORDER BY known.key
ON CONFLICT (type, version) DO UPDATE SET owner = EXCLUDED.owner, seen_at = now()
WHERE handler.seen_at < now() - interval '30 seconds'`;

/** What a host can run. */
type Known = Pick<ClaimRequest, "types" | "versions">;

/** For how long a host that noted a type counts as one that serves it. */
const servedFor = "interval '10 minutes'";

/** Most tenants whose first job one step looks at, and most jobs that it sets aside. */
const setAsideTenants = 1_000;
const setAsideJobs = 1_000;

/** How many jobs of a tenant one step looks at whose first is of a known type. */
const setAsideLook = 200;

/**
 * Puts back among the scheduled what no host knows and is first in its tenant's turn: claims would pass it each time. Of
 * a type that somebody serves, nothing. It goes from tenant to tenant behind a position, and wraps by its caller.
 */
export const setAsideStatement: Statement<"types" | "bucket" | "tenant"> = defineStatement(`
WITH RECURSIVE
  served AS MATERIALIZED (
    SELECT ARRAY(
      SELECT unnest(:types::text::text[]) UNION
      SELECT type FROM evenkeel.background_job_handler WHERE seen_at > now() - ${servedFor}
    ) AS types
  ),
  fronts AS (
    SELECT :bucket::int AS bucket, :tenant::text COLLATE "C" AS tenant_id, ''::text COLLATE "C" AS type, 0 AS place
    UNION ALL
    SELECT next.bucket, next.tenant_id, next.type, fronts.place + 1
    FROM fronts CROSS JOIN LATERAL (
      SELECT job.bucket::int, job.tenant_id, job.type FROM evenkeel.background_job AS job
      WHERE job.state = 'PENDING' AND (job.bucket, job.tenant_id) > (fronts.bucket, fronts.tenant_id)
      ORDER BY job.bucket, job.tenant_id, job.turn_at, job.id LIMIT 1
    ) AS next
    WHERE fronts.place < ${setAsideTenants}
  ),
  unknown AS MATERIALIZED (
    SELECT job.id
    FROM fronts CROSS JOIN served CROSS JOIN LATERAL (
      SELECT first.id, first.type FROM (
        SELECT job.id, job.type FROM evenkeel.background_job AS job
        WHERE job.state = 'PENDING' AND job.bucket = fronts.bucket AND job.tenant_id = fronts.tenant_id
        ORDER BY job.turn_at, job.id
        LIMIT CASE WHEN fronts.type <> ALL (served.types) THEN ${setAsideJobs} ELSE ${setAsideLook} END
      ) AS first
    ) AS job
    WHERE fronts.place > 0 AND job.type <> ALL (served.types)
    LIMIT ${setAsideJobs}
  ),
  unlocked AS MATERIALIZED ( -- What a caller's open transaction has changed must not hold up claims.
    SELECT job.ctid FROM evenkeel.background_job AS job
    WHERE job.id = ANY (ARRAY(SELECT id FROM unknown)) AND job.state = 'PENDING'
    ORDER BY job.id FOR NO KEY UPDATE SKIP LOCKED
  ),
  moved AS ( -- By address: what changed since the statement began is left, as it is where a job is rescheduled.
    UPDATE evenkeel.background_job AS job SET state = 'SCHEDULED'
    WHERE job.ctid = ANY (ARRAY(SELECT ctid FROM unlocked))
    RETURNING job.id
  )
SELECT (SELECT count(*) FROM moved)::int AS moved, max(place) AS met,
  (array_agg(bucket ORDER BY place DESC))[1] AS bucket, (array_agg(tenant_id ORDER BY place DESC))[1] AS tenant
FROM fronts`);

/** Keeps apart what is due later, and what nobody knows, from what may be claimed. */
export interface Availability {
  /**
   * Does `makeAvailable` if the last time was long enough ago, which is 0.1 s or fifty times what it took, or if it left
   * more. Besides it notes which types the host serves, and sets aside what nobody does. Returns whether it was time.
   */
  keepUp(known: Known & Pick<ClaimRequest, "owner">): Promise<boolean>;
  /** Makes available what is due, of these types and versions, and what dead workers left. Returns whether anything was. */
  makeAvailable(known: Known): Promise<boolean>;
  /** Sets aside jobs of types that neither these are nor any host serves, a step. Returns whether there may be more. */
  setAside(types: readonly string[]): Promise<boolean>;
}

/**
 * Creates what makes jobs available on a connection pool. It keeps its own pace, for all claims of a host, and lowers
 * their watermarks to what becomes available.
 */
export function createAvailability(
  sql: SqlClient,
  watermarks: Pick<ClaimWatermarks, "lower">,
): Availability {
  const pace = { update: new Pace(minMs, maxShare), setAside: new Pace(5_000, 0.1) };
  /** When to note next that there is a handler for a type and version. */
  const noteAtMs = new Map<string, number>();
  let most = batch;
  let position = { bucket: 0, tenant: "" };

  /** So that other hosts leave alone what this one will claim, and an operator sees who serves a type. */
  async function note({ types, versions = {} }: Known, owner: string): Promise<void> {
    const nowMs = performance.now();
    const known: Record<string, number> = {};
    for (const type of types) {
      const version = versions[type] ?? 1;
      const key = `${type} ${version}`;
      if (nowMs < (noteAtMs.get(key) ?? Number.NEGATIVE_INFINITY)) continue;
      noteAtMs.set(key, nowMs + noteMs);
      known[type] = version;
    }
    if (Object.keys(known).length > 0)
      await sql.query(noteStatement, [JSON.stringify(known), owner]);
  }

  async function makeAvailable({ types, versions = {} }: Known): Promise<boolean> {
    const values = { types: textArray(types), versions: JSON.stringify(versions), most };
    const [row] = await pace.update.time(() =>
      sql.query<{ promoted: number; swept: number; lowest: string | null }>(
        availabilityStatement.text,
        availabilityStatement.values(values),
      ),
    );
    const { promoted = 0, swept = 0, lowest = null } = row ?? {};
    const isFull = Math.max(promoted, swept) >= most;
    if (isFull) pace.update.hurry();
    most = isFull ? Math.min(10 * batch, 2 * most) : batch;
    if (lowest !== null) watermarks.lower(lowest);
    return lowest !== null;
  }

  async function setAside(types: readonly string[]): Promise<boolean> {
    const values = { types: textArray(types), ...position };
    const [row] = await pace.setAside.time(() =>
      sql.query<{ moved: number; met: number; bucket: number; tenant: string }>(
        setAsideStatement.text,
        setAsideStatement.values(values),
      ),
    );
    const { moved = 0, met = 0, bucket = 0, tenant = "" } = row ?? {};
    const isThrough = met < setAsideTenants;
    // Those that have more of it are looked at again before the step goes on.
    if (moved < setAsideJobs) position = isThrough ? { bucket: 0, tenant: "" } : { bucket, tenant };
    if (moved > 0) pace.setAside.hurry();
    return moved > 0 || !isThrough;
  }

  return {
    keepUp: async (known) => {
      await note(known, known.owner);
      if (pace.setAside.isDue()) await setAside(known.types);
      if (!pace.update.isDue()) return false;
      await makeAvailable(known);
      return true;
    },
    makeAvailable,
    setAside,
  };
}

/** When something that is done again and again is due: after so long, and no more than a part of the time. */
class Pace {
  readonly #leastMs: number;
  readonly #share: number;
  #nextAtMs = Number.NEGATIVE_INFINITY;
  #tookMs = 0;

  constructor(leastMs: number, share: number) {
    this.#leastMs = leastMs;
    this.#share = share;
  }

  isDue(): boolean {
    return performance.now() >= this.#nextAtMs;
  }

  /** Does it, and counts from its end. */
  async time<T>(work: () => Promise<T>): Promise<T> {
    const startedAtMs = performance.now();
    // Others that ask meanwhile need not do it too.
    this.#nextAtMs = startedAtMs + this.#leastMs;
    const result = await work();
    this.#tookMs = performance.now() - startedAtMs;
    this.#nextAtMs = performance.now() + Math.max(this.#leastMs, this.#tookMs / this.#share);
    return result;
  }

  /** There is more to do: as soon as its part of the time allows, a fifth at most. */
  hurry(): void {
    this.#nextAtMs = performance.now() + 4 * this.#tookMs;
  }
}
