import { createLedger, type JobClaim, type JobStore } from "@evenkeel/ledger";
import { Pool } from "pg";

// The only file of this folder that knows the ledger. A build whose API differs changes its own copy of it.

/** Where a build counts an attempt from the start of its handler, this stands between claim and settlement. */
interface JobStarter {
  start(claims: readonly JobClaim[]): Promise<unknown>;
}

/** Jobs to be stored. */
export interface Load {
  /** The tenant of the job of this number. */
  readonly tenantOf: (n: number) => string;
  readonly count: number;
  /** The type of the job of this number; `bench` by default. */
  readonly typeOf?: (n: number) => string;
  /** When the job of this number is due; at once by default. */
  readonly runAtOf?: (n: number) => Date;
}

/** What to claim. */
export interface BenchClaim {
  readonly types: readonly string[];
  readonly limit: number;
  /** The tenant behind which the rotation continues, as a drain gives it; the shared rotation by default. */
  readonly afterTenant?: string | undefined;
}

/** A claimed job, as far as the bench is concerned. */
export interface HeldJob extends JobClaim {
  readonly tenantId: string;
}

/** What a claim brought. */
export interface BenchClaimed {
  readonly jobs: readonly HeldJob[];
  readonly lastTenant?: string | undefined;
}

/** A queue in a database of its own. */
export interface BenchQueue {
  readonly pool: Pool;
  readonly databaseUrl: string;
  enqueue(load: Load): Promise<void>;
  claim(request: BenchClaim): Promise<BenchClaimed>;
  /** Records that the handlers of these jobs start. `undefined`: this build has no such step. */
  readonly start: ((jobs: readonly HeldJob[]) => Promise<unknown>) | undefined;
  succeed(jobs: readonly HeldJob[]): Promise<void>;
  /** Puts jobs back as they were. */
  release(jobs: readonly HeldJob[]): Promise<void>;
  /** Limits how many jobs of a tenant run at a time, or of every tenant. */
  cap(tenantId: string | undefined, maxRunning: number): Promise<void>;
  /** Does what autovacuum and the checkpointer do after a load, so that they do it outside the measurement. */
  settleDown(): Promise<void>;
  close(): Promise<void>;
}

/** The type of a job that no load names otherwise. */
export const benchType = "bench";

/** Long enough for every scenario: no lease ends while it runs. */
const leaseMs = 3_600_000;

const bulk = 5_000;

/** Opens the queue of an empty database. */
export async function openBenchQueue(databaseUrl: string): Promise<BenchQueue> {
  const pool = new Pool({ connectionString: databaseUrl, max: 10 });
  // A connection that is still closing when the server stops is told so.
  pool.on("error", () => {});
  const ledger = createLedger({ pool });
  await ledger.migrate();
  const store: JobStore & Partial<JobStarter> = ledger.jobs;
  const settle = async (
    jobs: readonly HeldJob[],
    kind: "succeeded" | "released",
  ): Promise<void> => {
    const settled = await store.settle(jobs.map(({ id, fence }) => ({ id, fence, kind })));
    if (settled.size !== jobs.length) {
      throw new Error(`${settled.size} of ${jobs.length} jobs were ${kind}.`);
    }
  };
  return {
    pool,
    databaseUrl,
    enqueue: async (load) => {
      for (let from = 0; from < load.count; from += bulk) {
        await store.insert(undefined, toJobs(load, from));
      }
    },
    claim: (request) => store.claim(toRequest(request)),
    start:
      store.start === undefined
        ? undefined
        : async (jobs) => store.start?.(jobs.map(({ id, fence }) => ({ id, fence }))),
    succeed: (jobs) => settle(jobs, "succeeded"),
    release: (jobs) => settle(jobs, "released"),
    cap: async (tenantId, maxRunning) => {
      const subject = tenantId === undefined ? "every-tenant" : { tenantId };
      await ledger.asOperator("bench").queue.limit(subject, { maxRunning });
    },
    settleDown: async () => {
      await pool.query(`VACUUM ANALYZE evenkeel.background_job`);
      await pool.query(`CHECKPOINT`);
    },
    close: async () => {
      await ledger.close();
      await pool.end();
    },
  };
}

// Inferred, so that a build that no longer knows a property ignores it.

function toJobs({ tenantOf, count, typeOf, runAtOf }: Load, from: number) {
  return Array.from({ length: Math.min(bulk, count - from) }, (_, index) => {
    const n = from + index;
    return {
      tenantId: tenantOf(n),
      type: typeOf?.(n) ?? benchType,
      version: 1,
      payloadText: `{"n":${n}}`,
      lane: "stable" as const,
      priority: 0,
      maxAttempts: 5,
      ...(runAtOf === undefined ? {} : { runAt: runAtOf(n) }),
    };
  });
}

function toRequest({ types, limit, afterTenant }: BenchClaim) {
  return {
    lane: "stable" as const,
    types,
    limit,
    leaseMs,
    owner: "bench",
    ...(afterTenant === undefined ? {} : { afterTenant }),
  };
}
