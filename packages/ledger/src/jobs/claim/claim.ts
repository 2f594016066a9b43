import type { SqlClient } from "../../database/database.ts";
import { ClaimWatermarks } from "./watermarks.ts";
import { limitedClaimStatement, unlimitedClaimStatement } from "./claim-statement.ts";
import { toClaimedJob, type ClaimedRow } from "./claimed-row.ts";
import { priorityStepMs } from "../limits.ts";
import { maxVisits, type Resumption } from "./tenant-rotation.ts";
import type { ClaimedJob, ClaimRequest, ClaimResult } from "../job.ts";

/** Where a claim's walk over the tenants ended, and what it met: in one row of the answer, which is no job. */
interface Walk {
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

type ClaimRow = { readonly walk: Walk } | ({ readonly walk: null } & ClaimedRow);

/**
 * Creates {@link JobStore.claim}. The types without a cap are claimed in one statement, each type with a cap in
 * one of its own, as its tenants take turns by themselves. Which types have caps is known from the claim
 * before; whichever group is first in turn is first to be served, and each has its part of the batch.
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
    // The shared group first: its answer says which types have caps by now.
    let groups: readonly (string | undefined)[] = [undefined, ...known];
    turn += 1;
    const expiredFirstJob = Math.floor(turn / groups.length) % 2 === 0 ? 1 : 0;
    groups = [...groups.slice(turn % groups.length), ...groups.slice(0, turn % groups.length)];
    const jobs: ClaimedJob[] = [];
    let throttled = false;
    let lastTenant: string | undefined;
    const serve = async (type: string | undefined, most: number): Promise<void> => {
      const answer = await claimGroup({
        sql,
        watermarks,
        leaseWatermarks,
        limits,
        request,
        cappedType: type,
        limit: most,
        expiredFirstJob,
      });
      jobs.push(...answer.jobs);
      throttled ||= answer.throttled;
      if (type !== undefined) return;
      lastTenant = answer.lastTenant;
      cappedTypes = answer.cappedTypes;
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
    return { jobs, throttled, ...(lastTenant === undefined ? {} : { lastTenant }) };
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
  /** Of a batch of one job, whether it is for what expired (1) or for what waits (0). */
  readonly expiredFirstJob: 0 | 1;
}

interface GroupAnswer extends ClaimResult {
  readonly cappedTypes: readonly string[];
  /** Before which nothing waits, when that could be seen. */
  readonly watermark: string | null;
}

/**
 * Claims from one group; repeated only while the walk meets nothing but work that is not due. It looks no further
 * back than was seen to be needed a moment ago; when that does not fill the batch, it looks at all there is.
 */
async function claimGroup(group: ClaimGroup): Promise<GroupAnswer> {
  const { request, cappedType } = group;
  const asked = cappedType === undefined ? request.types : [cappedType];
  const key = JSON.stringify([request.lane, cappedType, asked]);
  const watermark = group.watermarks.find(key);
  let jobs: ClaimedJob[] = [];
  if (watermark !== undefined) {
    const answer = await walk(group, asked, watermark, group.limit);
    if (answer.jobs.length === group.limit) {
      group.watermarks.raise(key, answer.watermark);
      return answer;
    }
    ({ jobs } = answer);
  }
  const startedAtMs = performance.now();
  const answer = await walk(group, asked, "-infinity", group.limit - jobs.length);
  jobs = [...jobs, ...answer.jobs];
  const isFull = jobs.length === group.limit;
  group.watermarks.begin(key, isFull ? answer.watermark : null, performance.now() - startedAtMs);
  return { ...answer, jobs };
}

async function walk(
  { sql, leaseWatermarks, limits, request, cappedType, expiredFirstJob }: ClaimGroup,
  asked: readonly string[],
  watermark: string,
  limit: number,
): Promise<GroupAnswer> {
  const { lane, leaseMs, owner, afterTenant } = request;
  // A type with a cap goes by its own rotation, which all claims share.
  const after = cappedType === undefined ? afterTenant : undefined;
  let resumed: Resumption | undefined;
  let odd = limit === 1 ? expiredFirstJob : 1;
  let throttled = false;
  for (;;) {
    const statement = limits.exist ? limitedClaimStatement : unlimitedClaimStatement;
    const startedAtMs = performance.now();
    const rows: ClaimRow[] = await sql.query<ClaimRow>(statement, [
      lane,
      JSON.stringify(asked),
      resumed?.after ?? after ?? null,
      resumed?.origin ?? null,
      resumed?.wrapped ?? false,
      limit,
      Math.max(maxVisits, limit),
      asked.length,
      cappedType ?? "",
      watermark,
      leaseMs,
      owner,
      odd,
      leaseWatermarks.find(lane) ?? "-infinity",
    ]);
    let walked: Walk | undefined;
    const jobs: ClaimedJob[] = [];
    for (const row of rows) {
      if (row.walk === null) jobs.push(toClaimedJob(row));
      else walked = row.walk;
    }
    if (walked === undefined) return { jobs: [], throttled, cappedTypes: [], watermark: null };
    const { isLimited, introduced, complete, cappedTypes, lastTenant } = walked;
    const isMistaken = isLimited && !limits.exist;
    limits.exist = isLimited;
    if (walked.leaseWatermark !== null) {
      leaseWatermarks.begin(lane, walked.leaseWatermark, performance.now() - startedAtMs);
    }
    if (isMistaken) continue;
    throttled ||= walked.throttled;
    if (jobs.length === 0 && introduced) continue;
    if (jobs.length > 0 || complete || lastTenant === null) {
      if (jobs.length === 0 && odd === 0) {
        // Nothing waits: what expired need not stand back.
        odd = 1;
        continue;
      }
      // What a walk in several statements saw first is not known to its last.
      const seen = resumed === undefined ? walked.watermark : null;
      const answer = { jobs: interleaveTenants(jobs), throttled, cappedTypes, watermark: seen };
      return { ...answer, ...(lastTenant === null ? {} : { lastTenant }) };
    }
    resumed = { after: lastTenant, origin: walked.origin, wrapped: walked.wrapped ?? true };
  }
}

/** Every tenant's most urgent job, then every tenant's second, and so on: here, so that Postgres need not sort. */
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

/** By their numbers: decimal texts without leading zeros. */
function compareIds(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : 1);
}
