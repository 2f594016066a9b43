import type { SqlClient } from "./database.ts";
import type { ClaimFloors } from "./claim-floors.ts";
import { limitedClaimStatement, unlimitedClaimStatement } from "./job-store-claim-statement.ts";
import { priorityStepMs } from "./job-store-limits.ts";
import { maxVisits, type Resumption } from "./job-store-rotation.ts";
import type { ClaimedJob, ClaimRequest, ClaimResult, RecordedAttemptError } from "./job-store.ts";

interface ClaimRow {
  complete: boolean;
  lastTenant: string | null;
  wrapped: boolean | null;
  origin: string;
  floor: string | null;
  isLimited: boolean;
  introduced: boolean;
  heldBack: boolean;
  cappedTypes: string[];
  id: string | null;
  tenantId: string;
  type: string;
  version: number;
  payload: unknown;
  priority: number;
  attempt: number;
  maxAttempts: number;
  crashes: number;
  fence: string;
  runAt: Date;
  leaseExpiresAt: Date;
  correlationId: string | null;
  uniqueKey: string | null;
  errors: RecordedAttemptError[];
}

/**
 * Creates {@link JobStore.claim}. The types without a cap are claimed in one statement, each type with a cap in
 * one of its own, as its tenants take turns by themselves. Which types have caps is known from the claim
 * before; whichever group is first in turn is first to be served, and each has its part of the batch.
 */
export function createClaim(
  sql: SqlClient,
  floors: ClaimFloors,
): (request: ClaimRequest) => Promise<ClaimResult> {
  const limits = { exist: false };
  let cappedTypes: readonly string[] = [];
  let turn = Math.floor(Math.random() * 1_000);
  return async (request) => {
    const { types, limit } = request;
    if (types.length === 0 || limit < 1) return { jobs: [], heldBack: false };
    const known = cappedTypes.filter((type) => types.includes(type));
    // The shared group first: its answer says which types have caps by now.
    let groups: readonly (string | undefined)[] = [undefined, ...known];
    turn += 1;
    const oddJob = Math.floor(turn / groups.length) % 2 === 0 ? 1 : 0;
    groups = [...groups.slice(turn % groups.length), ...groups.slice(0, turn % groups.length)];
    const jobs: ClaimedJob[] = [];
    let heldBack = false;
    let lastTenant: string | undefined;
    const serve = async (type: string | undefined, most: number): Promise<void> => {
      const answer = await claimGroup({
        sql,
        floors,
        limits,
        request,
        cappedType: type,
        limit: most,
        oddJob,
      });
      jobs.push(...answer.jobs);
      heldBack ||= answer.heldBack;
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
    return { jobs, heldBack, ...(lastTenant === undefined ? {} : { lastTenant }) };
  };
}

interface ClaimGroup {
  readonly sql: SqlClient;
  readonly floors: ClaimFloors;
  /** Whether operators decided anything, as the last claim saw it. */
  readonly limits: { exist: boolean };
  readonly request: ClaimRequest;
  /** The type that is claimed by itself; `undefined`: all types without a cap. */
  readonly cappedType: string | undefined;
  readonly limit: number;
  /** Of an odd batch, whether the odd job is for what lapsed (1) or for what waits (0). */
  readonly oddJob: 0 | 1;
}

interface GroupAnswer extends ClaimResult {
  readonly cappedTypes: readonly string[];
  /** Before which nothing waits, when that could be seen. */
  readonly floor: string | null;
}

/**
 * Claims from one group; repeated only while the walk meets nothing but work that is not due. It looks no further
 * back than was seen to be needed a moment ago; when that does not fill the batch, it looks at all there is.
 */
async function claimGroup(group: ClaimGroup): Promise<GroupAnswer> {
  const { request, cappedType } = group;
  const asked = cappedType === undefined ? request.types : [cappedType];
  const key = JSON.stringify([request.lane, cappedType, asked]);
  const floor = group.floors.find(key);
  let jobs: ClaimedJob[] = [];
  if (floor !== undefined) {
    const answer = await walk(group, asked, floor, group.limit);
    if (answer.jobs.length === group.limit) {
      group.floors.raise(key, answer.floor);
      return answer;
    }
    ({ jobs } = answer);
  }
  const startedAtMs = performance.now();
  const answer = await walk(group, asked, "-infinity", group.limit - jobs.length);
  jobs = [...jobs, ...answer.jobs];
  const isFull = jobs.length === group.limit;
  group.floors.begin(key, isFull ? answer.floor : null, performance.now() - startedAtMs);
  return { ...answer, jobs };
}

async function walk(
  { sql, limits, request, cappedType, oddJob }: ClaimGroup,
  asked: readonly string[],
  floor: string,
  limit: number,
): Promise<GroupAnswer> {
  const { lane, leaseMs, owner, afterTenant } = request;
  // A type with a cap goes by its own rotation, which all claims share.
  const after = cappedType === undefined ? afterTenant : undefined;
  let resumed: Resumption | undefined;
  let odd = oddJob;
  let heldBack = false;
  for (;;) {
    const statement = limits.exist ? limitedClaimStatement : unlimitedClaimStatement;
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
      floor,
      leaseMs,
      owner,
      odd,
    ]);
    const first = rows[0];
    if (first === undefined) return { jobs: [], heldBack, cappedTypes: [], floor: null };
    const isMistaken = first.isLimited && !limits.exist;
    limits.exist = first.isLimited;
    if (isMistaken) continue;
    const jobs = interleave(
      rows.flatMap((row) => (row.id === null ? [] : [toClaimedJob(row.id, row)])),
    );
    const { cappedTypes, lastTenant } = first;
    heldBack ||= first.heldBack;
    if (jobs.length === 0 && first.introduced) continue;
    if (jobs.length > 0 || first.complete || lastTenant === null) {
      if (jobs.length === 0 && limit === 1 && odd === 0) {
        // Nothing waits: what lapsed need not stand back.
        odd = 1;
        continue;
      }
      // What a walk in several statements saw first is not known to its last.
      const seen = resumed === undefined ? first.floor : null;
      const answer = { jobs, heldBack, cappedTypes, floor: seen };
      return { ...answer, ...(lastTenant === null ? {} : { lastTenant }) };
    }
    resumed = { after: lastTenant, origin: first.origin, wrapped: first.wrapped ?? true };
  }
}

/** Every tenant's most urgent job, then every tenant's second, and so on: here, so that Postgres need not sort. */
function interleave(jobs: readonly ClaimedJob[]): ClaimedJob[] {
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
  return urgency(a) - urgency(b) || (BigInt(a.id) < BigInt(b.id) ? -1 : 1);
}

function toClaimedJob(id: string, row: ClaimRow): ClaimedJob {
  const { tenantId, type, version, payload, priority, attempt, maxAttempts, crashes } = row;
  const { fence, runAt, leaseExpiresAt, correlationId, uniqueKey, errors } = row;
  const counts = { attempt, maxAttempts, crashes };
  const lease = { fence, leaseExpiresAt };
  const origin = { runAt, correlationId, uniqueKey, errors };
  return { id, tenantId, type, version, payload, priority, ...counts, ...lease, ...origin };
}
