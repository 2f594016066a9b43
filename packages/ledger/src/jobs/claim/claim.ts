import { allBuckets, bucketOf, defined } from "@evenkeel/core";

import type { SqlClient } from "../../database/database.ts";
import { textArray } from "../../database/text-array.ts";
import { compareIds, type ClaimedJob, type ClaimRequest, type ClaimResult } from "../job.ts";
import { priorityStepMs } from "../turn.ts";
import type { Availability } from "./availability.ts";
import { limitedClaimStatement, unlimitedClaimStatement } from "./claim-statement.ts";
import { toClaimedJob, type ClaimedRow } from "./claimed-row.ts";
import { knownVersions } from "./tenant-scan.ts";
import type { ClaimWatermarks } from "./watermarks.ts";

/** What a claim met. It comes as one row beside those of the jobs. */
interface Walk {
  readonly lastTenant: string | null;
  readonly watermark: string | null;
  readonly isLimited: boolean;
  /** Under limits: behind which tenant the scan began, and where it ended. `null`: it did not begin. */
  readonly origin?: ScanPlace | null;
  readonly end?: ScanEnd | null;
  readonly newTenants?: readonly string[];
  readonly cappedTypes?: readonly string[];
  readonly throttled?: boolean;
}

interface ScanPlace {
  readonly bucket: number;
  readonly tenant_id: string;
}

interface ScanEnd extends ScanPlace {
  readonly wrapped: boolean;
  /** How many tenants it met. */
  readonly place: number;
}

type ClaimRow = { readonly walk: Walk } | ({ readonly walk: null } & ClaimedRow);

/** Most tenants that one statement meets under limits: it passes those that may start nothing. */
const mostTenants = 2_000;

/** A claim of one group of types: those without a cap, or one type with one. */
interface GroupRequest extends ClaimRequest {
  readonly cappedType: string;
}

interface GroupClaim extends ClaimResult {
  readonly cappedTypes: readonly string[];
  /** The time before which nothing has its turn; `null`: it could not be seen. */
  readonly watermark: string | null;
}

/**
 * Creates a claim: available jobs, in turn over the tenants, under a new fence each. Before, what has become due and what
 * dead workers left is made available, at its own pace.
 *
 * The types without a cap are claimed in one statement, each type with a cap in one of its own, as its tenants take
 * turns by themselves. Which types have caps is known from the claim before. Groups take turns at being served first,
 * and each has its part of the batch.
 */
export function createClaim(
  sql: SqlClient,
  watermarks: ClaimWatermarks,
  availability: Availability,
): (request: ClaimRequest) => Promise<ClaimResult> {
  const limits = { exist: false };
  let cappedTypes: readonly string[] = [];
  let turn = Math.floor(Math.random() * 1_000);
  const claim = async (request: ClaimRequest): Promise<ClaimResult> => {
    const known = cappedTypes.filter((type) => request.types.includes(type));
    // The group of the types without a cap, and one of each type with one.
    let groups: readonly string[] = ["", ...known];
    turn += 1;
    groups = [...groups.slice(turn % groups.length), ...groups.slice(0, turn % groups.length)];
    const jobs: ClaimedJob[] = [];
    let throttled = false;
    let lastTenant: string | undefined;
    const serve = async (cappedType: string, limit: number): Promise<void> => {
      const types = cappedType === "" ? request.types : [cappedType];
      const claimed = await claimGroup(sql, watermarks, limits, {
        ...request,
        types,
        limit,
        cappedType,
      });
      jobs.push(...claimed.jobs);
      throttled ||= claimed.throttled;
      if (cappedType !== "") return;
      lastTenant = claimed.lastTenant;
      // Which types have caps by now.
      cappedTypes = claimed.cappedTypes;
    };
    for (const [place, cappedType] of groups.entries()) {
      const left = request.limit - jobs.length;
      if (left > 0) await serve(cappedType, Math.ceil(left / (groups.length - place)));
    }
    for (const cappedType of [...cappedTypes.filter((type) => !known.includes(type)), ""]) {
      // What one group left over is for another.
      const left = request.limit - jobs.length;
      if (left > 0 && (cappedType !== "" || known.length > 0)) await serve(cappedType, left);
    }
    return { jobs, throttled, ...defined({ lastTenant }) };
  };
  return async (request) => {
    if (request.types.length === 0 || request.limit < 1) return { jobs: [], throttled: false };
    const hasLooked = await availability.keepUp(request);
    const claimed = await claim(request);
    const missing = request.limit - claimed.jobs.length;
    if (missing === 0 || hasLooked) return claimed;
    // Before it says that there is no more, it looks whether anything has just become due.
    if (!(await availability.makeAvailable(request))) return claimed;
    const afterTenant = claimed.lastTenant;
    const more = await claim({ ...request, limit: missing, ...defined({ afterTenant }) });
    return {
      ...more,
      jobs: [...claimed.jobs, ...more.jobs],
      throttled: claimed.throttled || more.throttled,
    };
  };
}

/** Claims from one group: from its watermark on, and where that does not fill the batch, by a look at all there is. */
async function claimGroup(
  sql: SqlClient,
  watermarks: ClaimWatermarks,
  limits: { exist: boolean },
  request: GroupRequest,
): Promise<GroupClaim> {
  const { lane, buckets, types, versions, exceptTenants: except, cappedType, limit } = request;
  const key = JSON.stringify([lane, buckets, types, versions, cappedType]);
  // The turns of tenants that are left out are not below it.
  const watermark = except === undefined ? watermarks.find(key) : undefined;
  let jobs: readonly ClaimedJob[] = [];
  if (watermark !== undefined) {
    const claimed = await claimTenants(sql, limits, request, watermark);
    if (claimed.jobs.length === limit) {
      watermarks.raise(key, claimed.watermark);
      return claimed;
    }
    ({ jobs } = claimed);
  }
  const startedAtMs = performance.now();
  const rest = { ...request, limit: limit - jobs.length };
  const claimed = await claimTenants(sql, limits, rest, "-infinity");
  jobs = [...jobs, ...claimed.jobs];
  if (except === undefined) {
    const seen = jobs.length === limit ? claimed.watermark : null;
    watermarks.begin(key, seen, performance.now() - startedAtMs, rest.limit);
  }
  return { ...claimed, jobs: [...jobs] };
}

/** Claims in one statement, and under limits in more, until the batch is full or every tenant was met. */
async function claimTenants(
  sql: SqlClient,
  limits: { exist: boolean },
  request: GroupRequest,
  lowest: string,
): Promise<GroupClaim> {
  const { lane, buckets = allBuckets, leaseMs, owner, cappedType, limit } = request;
  const { types, versions, exceptTenants = [] } = request;
  // A type with a cap goes by its own rotation, which all claims share.
  const after = cappedType === "" ? request.afterTenant : undefined;
  // Where the scan began, as the first statement saw it, and where the next goes on.
  let origin = after === undefined ? undefined : { bucket: bucketOf(after), tenant_id: after };
  let from: ScanEnd | undefined;
  let maxTenants = Math.min(mostTenants, limit + exceptTenants.length);
  const claimed: ClaimedJob[] = [];
  let lastTenant: string | undefined;
  let throttled = false;
  for (;;) {
    const statement = limits.exist ? limitedClaimStatement : unlimitedClaimStatement;
    const rows = await sql.query<ClaimRow>(
      statement.text,
      statement.values({
        lane,
        firstBucket: buckets.from,
        lastBucket: buckets.to - 1,
        types: textArray(types),
        versions: knownVersions(types, versions),
        after: origin?.tenant_id ?? null,
        afterBucket: origin?.bucket ?? null,
        from: from?.tenant_id ?? null,
        fromBucket: from?.bucket ?? null,
        wrapped: from?.wrapped ?? false,
        except: textArray(exceptTenants),
        limit: limit - claimed.length,
        maxTenants: Math.max(maxTenants, limit),
        moves: after === undefined,
        cappedType,
        watermark: lowest,
        leaseMs,
        owner,
      }),
    );
    let walk: Walk | undefined;
    for (const row of rows) {
      if (row.walk === null) claimed.push(toClaimedJob(row));
      else ({ walk } = row);
    }
    if (walk === undefined) throw new Error("A claim came back without its walk.");
    const { isLimited, newTenants = [], cappedTypes = [] } = walk;
    const isMistaken = isLimited && !limits.exist;
    limits.exist = isLimited;
    if (isMistaken) continue;
    throttled ||= walk.throttled === true;
    lastTenant = walk.lastTenant ?? lastTenant;
    if (newTenants.length > 0) {
      await introduce(sql, newTenants);
      if (claimed.length === 0) continue;
    }
    const { end = null } = walk;
    const isComplete = end === null || end.place < Math.max(maxTenants, limit);
    if (isComplete || claimed.length >= limit) {
      // What a look in several statements saw first is not known to its last.
      const watermark = from === undefined ? walk.watermark : null;
      const jobs = interleaveTenants(claimed);
      return { jobs, throttled, cappedTypes, watermark, ...defined({ lastTenant }) };
    }
    origin = walk.origin ?? undefined;
    from = end;
    maxTenants = Math.min(mostTenants, maxTenants * 4);
  }
}

/**
 * Gives tenants that were met for the first time under a limit for every tenant a row that claims can lock. The lock lets
 * whoever lifts that limit at this moment find these rows, or finds that it was lifted: a row that stays makes every
 * claim a long one.
 */
async function introduce(sql: SqlClient, tenants: readonly string[]): Promise<void> {
  await sql.query(
    `WITH every AS MATERIALIZED (
       SELECT FROM evenkeel.background_job_limit
       WHERE kind = 'EVERY_TENANT' AND (max_running IS NOT NULL OR rate_limit IS NOT NULL)
       FOR SHARE
     )
     INSERT INTO evenkeel.background_job_limit (kind, subject)
     SELECT 'TENANT', tenant FROM every CROSS JOIN unnest($1::text::text[]) AS met (tenant) ORDER BY tenant
     ON CONFLICT (kind, subject) DO NOTHING`,
    [textArray(tenants)],
  );
}

/** Returns every tenant's most urgent job, then every tenant's second, and so on. Postgres need not sort so. */
function interleaveTenants(jobs: readonly ClaimedJob[]): ClaimedJob[] {
  const met = new Map<string, number>();
  const turns = jobs.toSorted(byUrgency).map((job) => {
    const turn = met.get(job.tenantId) ?? 0;
    met.set(job.tenantId, turn + 1);
    return { job, turn };
  });
  return turns.toSorted((a, b) => a.turn - b.turn).map(({ job }) => job);
}

function byUrgency(a: ClaimedJob, b: ClaimedJob): number {
  const urgency = (job: ClaimedJob): number => job.runAt.getTime() - job.priority * priorityStepMs;
  return urgency(a) - urgency(b) || compareIds(a.id, b.id);
}
