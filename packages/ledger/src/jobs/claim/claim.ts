import { defined } from "@evenkeel/core";

import type { SqlClient } from "../../database/database.ts";
import type { ClaimedJob, ClaimRequest, ClaimResult } from "../job.ts";
import { priorityStepMs } from "../limits.ts";
import { limitedClaimStatement, unlimitedClaimStatement } from "./claim-statement.ts";
import { toClaimedJob, type ClaimedRow } from "./claimed-row.ts";
import { maxVisits, type Resumption } from "./tenant-rotation.ts";
import { ClaimWatermarks } from "./watermarks.ts";

/** Where a claim's scan of the tenants ended, and what it met. It comes as one row beside those of the jobs. */
interface TenantScan {
  readonly complete: boolean;
  readonly lastTenant: string | null;
  readonly wrapped: boolean | null;
  readonly origin: string;
  readonly watermark: string | null;
  readonly leaseWatermark: string | null;
  readonly isLimited: boolean;
  readonly introduced: boolean;
  readonly throttled: boolean;
  readonly cappedTypes: readonly string[];
}

type ClaimRow = { readonly scan: TenantScan } | ({ readonly scan: null } & ClaimedRow);

/**
 * Creates a claim: due jobs and jobs whose lease expired, in turn over the tenants, under a new fence each.
 *
 * The types without a cap are claimed in one statement, each type with a cap in one of its own, as its tenants take
 * turns by themselves. Which types have caps is known from the claim before. Groups take turns at being served first,
 * and each has its part of the batch.
 */
export function createClaim(
  sql: SqlClient,
  watermarks: ClaimWatermarks,
): (request: ClaimRequest) => Promise<ClaimResult> {
  const limits = { exist: false };
  const leaseWatermarks = new ClaimWatermarks();
  let cappedTypes: readonly string[] = [];
  let turn = Math.floor(Math.random() * 1_000);
  return async (request) => {
    const { types, limit } = request;
    if (types.length === 0 || limit < 1) return { jobs: [], throttled: false };
    const known = cappedTypes.filter((type) => types.includes(type));
    // The group of the types without a cap, and one of each type with one.
    let groups: readonly (string | undefined)[] = [undefined, ...known];
    turn += 1;
    const expiredFirst = Math.floor(turn / groups.length) % 2 === 0 ? 1 : 0;
    groups = [...groups.slice(turn % groups.length), ...groups.slice(0, turn % groups.length)];
    const jobs: ClaimedJob[] = [];
    let throttled = false;
    let lastTenant: string | undefined;
    const serve = async (type: string | undefined, most: number): Promise<void> => {
      const claimed = await claimGroup({
        sql,
        watermarks,
        leaseWatermarks,
        limits,
        request,
        cappedType: type,
        limit: most,
        expiredFirst,
      });
      jobs.push(...claimed.jobs);
      throttled ||= claimed.throttled;
      if (type !== undefined) return;
      lastTenant = claimed.lastTenant;
      // Which types have caps by now.
      cappedTypes = claimed.cappedTypes;
    };
    for (const [place, type] of groups.entries()) {
      const left = limit - jobs.length;
      if (left > 0) await serve(type, Math.ceil(left / (groups.length - place)));
    }
    for (const type of [...cappedTypes.filter((capped) => !known.includes(capped)), undefined]) {
      // What one group left over is for another.
      const left = limit - jobs.length;
      if (left > 0 && (type !== undefined || known.length > 0)) await serve(type, left);
    }
    return { jobs, throttled, ...defined({ lastTenant }) };
  };
}

interface ClaimGroup {
  readonly sql: SqlClient;
  readonly watermarks: ClaimWatermarks;
  /** The times before which no lease ends, per lane. */
  readonly leaseWatermarks: ClaimWatermarks;
  /** Whether operators decided anything, as the last claim saw it. */
  readonly limits: { exist: boolean };
  readonly request: ClaimRequest;
  /** The type that is claimed by itself; `undefined`: all types without a cap. */
  readonly cappedType: string | undefined;
  readonly limit: number;
  /** Whether a batch of one job is for what expired (1) or for what waits (0). */
  readonly expiredFirst: 0 | 1;
}

interface GroupClaim extends ClaimResult {
  readonly cappedTypes: readonly string[];
  /** The time before which nothing waits; `null`: it could not be seen. */
  readonly watermark: string | null;
}

/** Claims from one group: from its watermark on, and where that does not fill the batch, by a full scan. */
async function claimGroup(group: ClaimGroup): Promise<GroupClaim> {
  const { request, cappedType } = group;
  const asked = cappedType === undefined ? request.types : [cappedType];
  const key = JSON.stringify([request.lane, cappedType, asked]);
  const watermark = group.watermarks.find(key);
  let jobs: ClaimedJob[] = [];
  if (watermark !== undefined) {
    const claimed = await scanTenants(group, asked, watermark, group.limit);
    if (claimed.jobs.length === group.limit) {
      group.watermarks.raise(key, claimed.watermark);
      return claimed;
    }
    ({ jobs } = claimed);
  }
  const startedAtMs = performance.now();
  const claimed = await scanTenants(group, asked, "-infinity", group.limit - jobs.length);
  jobs = [...jobs, ...claimed.jobs];
  const isFull = jobs.length === group.limit;
  group.watermarks.begin(key, isFull ? claimed.watermark : null, performance.now() - startedAtMs);
  return { ...claimed, jobs };
}

/** Claims in one statement, and in more only as long as the scan meets nothing but work that is not due. */
async function scanTenants(
  { sql, leaseWatermarks, limits, request, cappedType, ...group }: ClaimGroup,
  asked: readonly string[],
  watermark: string,
  limit: number,
): Promise<GroupClaim> {
  const { lane, leaseMs, owner, afterTenant } = request;
  // A type with a cap goes by its own rotation, which all claims share.
  const after = cappedType === undefined ? afterTenant : undefined;
  let resumed: Resumption | undefined;
  let expiredFirst = limit === 1 ? group.expiredFirst : 1;
  let throttled = false;
  for (;;) {
    const statement = limits.exist ? limitedClaimStatement : unlimitedClaimStatement;
    const startedAtMs = performance.now();
    const values = statement.values({
      lane,
      types: JSON.stringify(asked),
      typeCount: asked.length,
      after: resumed?.after ?? after ?? null,
      origin: resumed?.origin ?? null,
      wrapped: resumed?.wrapped ?? false,
      limit,
      maxVisits: Math.max(maxVisits, limit),
      cappedType: cappedType ?? "",
      watermark,
      leaseMs,
      owner,
      expiredFirst,
      leaseWatermark: leaseWatermarks.find(lane) ?? "-infinity",
    });
    const rows: ClaimRow[] = await sql.query<ClaimRow>(statement.text, values);
    let scan: TenantScan | undefined;
    const jobs: ClaimedJob[] = [];
    for (const row of rows) {
      if (row.scan === null) jobs.push(toClaimedJob(row));
      else ({ scan } = row);
    }
    if (scan === undefined) return { jobs: [], throttled, cappedTypes: [], watermark: null };
    const { isLimited, introduced, complete, cappedTypes, lastTenant } = scan;
    const isMistaken = isLimited && !limits.exist;
    limits.exist = isLimited;
    if (scan.leaseWatermark !== null) {
      leaseWatermarks.begin(lane, scan.leaseWatermark, performance.now() - startedAtMs);
    }
    if (isMistaken) continue;
    throttled ||= scan.throttled;
    if (jobs.length === 0 && introduced) continue;
    if (jobs.length > 0 || complete || lastTenant === null) {
      if (jobs.length === 0 && expiredFirst === 0) {
        // Nothing waits: what expired may go first.
        expiredFirst = 1;
        continue;
      }
      // What a scan in several statements saw first is not known to its last.
      const seen = resumed === undefined ? scan.watermark : null;
      const claimed = { jobs: interleaveTenants(jobs), throttled, cappedTypes, watermark: seen };
      return { ...claimed, ...defined({ lastTenant: lastTenant ?? undefined }) };
    }
    resumed = { after: lastTenant, origin: scan.origin, wrapped: scan.wrapped ?? true };
  }
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

/** Compares ids by their numbers: decimal texts without leading zeros. */
function compareIds(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : 1);
}
