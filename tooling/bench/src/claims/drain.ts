import { percentile } from "../report.ts";
import { benchType, type BenchQueue } from "./bench-queue.ts";
import { openIdleTransaction } from "./idle-transaction.ts";
import type { Figure, Scenario } from "./scenario.ts";

/** How a queue is drained. */
interface DrainPlan {
  readonly limit: number;
  /** Claimers at a time. */
  readonly loops: number;
  /** Whether each claim goes on where the shared rotation stands, as those of drains that live for one claim do. */
  readonly isShared?: boolean;
}

interface Drained {
  readonly jobsPerSecond: number;
  /** Milliseconds of each claim that brought something, in their order. */
  readonly claims: readonly number[];
  /** Milliseconds of all claims, starts and settlements; they overlap. */
  readonly spent: { readonly claim: number; readonly start: number; readonly settle: number };
}

/**
 * Claims, starts and settles until nothing is left.
 *
 * @throws Error when not each job was settled, once: a settlement under a fence that another claim took is refused.
 */
async function drain(
  queue: BenchQueue,
  count: number,
  { limit, loops, isShared = false }: DrainPlan,
): Promise<Drained> {
  const claims: number[] = [];
  const spent = { claim: 0, start: 0, settle: 0 };
  let settled = 0;
  const time = async <Result>(what: keyof typeof spent, act: () => Promise<Result>) => {
    const startedAtMs = performance.now();
    const result = await act();
    const tookMs = performance.now() - startedAtMs;
    spent[what] += tookMs;
    return { result, tookMs };
  };
  const claimer = async (): Promise<void> => {
    let afterTenant: string | undefined;
    for (;;) {
      const request = { types: [benchType], limit, afterTenant };
      const { result, tookMs } = await time("claim", () => queue.claim(request));
      const { jobs, lastTenant } = result;
      if (jobs.length === 0) return;
      claims.push(tookMs);
      if (!isShared) afterTenant = lastTenant ?? afterTenant;
      if (queue.start !== undefined) await time("start", async () => queue.start?.(jobs));
      await time("settle", () => queue.succeed(jobs));
      settled += jobs.length;
    }
  };
  const startedAtMs = performance.now();
  await Promise.all(Array.from({ length: loops }, claimer));
  const tookMs = performance.now() - startedAtMs;
  if (settled !== count) throw new Error(`${settled} of ${count} jobs were settled.`);
  return { jobsPerSecond: (count * 1_000) / tookMs, claims, spent };
}

/** Fills and drains a new queue, after a warm-up of some claims. */
async function drainNew(
  queue: BenchQueue,
  { tenants, count, ...plan }: DrainPlan & { readonly tenants: number; readonly count: number },
): Promise<Drained> {
  const tenantOf = (n: number): string => `tenant-${n % tenants}`;
  const warmUp = 4 * plan.limit * plan.loops;
  await queue.enqueue({ tenantOf, count: warmUp });
  await drain(queue, warmUp, plan);
  await queue.enqueue({ tenantOf, count });
  await queue.settleDown();
  return drain(queue, count, plan);
}

/** A drain of 50 tenants in batches of one size. */
function drainScenario(
  limit: number,
  loops: number,
  counts: { readonly full: number; readonly quick: number },
): Scenario {
  const name = drainName(limit, loops);
  return {
    name,
    measure: async ({ isQuick, createQueue }) => {
      const count = isQuick ? counts.quick : counts.full;
      const queue = await createQueue();
      const { jobsPerSecond, spent } = await drainNew(queue, { tenants: 50, count, limit, loops });
      const perThousand = (ms: number): number => (ms * 1_000) / count;
      const figures = [
        { name: rateName(name), value: jobsPerSecond },
        { name: `${name}: claim, ms per 1,000 jobs`, value: perThousand(spent.claim) },
        { name: `${name}: start, ms per 1,000 jobs`, value: perThousand(spent.start) },
        { name: `${name}: settle, ms per 1,000 jobs`, value: perThousand(spent.settle) },
        // For a build with starts beside one without.
        {
          name: `${name}: claim and settle, ms per 1,000 jobs`,
          value: perThousand(spent.claim + spent.settle),
        },
      ];
      return figures.filter(({ value }) => value > 0);
    },
  };
}

/** What a drain's scenario is called. */
export function drainName(limit: number, loops: number): string {
  return `drain ${loops} x ${limit.toLocaleString("en-US")}`;
}

/** The figure of a drain's rate. */
export function rateName(scenario: string): string {
  return `${scenario}: jobs/s`;
}

const fourClaimers: Scenario = {
  name: "four claimers",
  measure: async ({ isQuick, createQueue }) => {
    const count = isQuick ? 10_000 : 50_000;
    const figures: Figure[] = [];
    for (const [name, tenants] of [
      ["four claimers, 50 tenants", 50],
      ["four claimers, 1 tenant", 1],
    ] as const) {
      const plan = { limit: 100, loops: 4, isShared: true };
      const { jobsPerSecond } = await drainNew(await createQueue(), { tenants, count, ...plan });
      figures.push({ name: rateName(name), value: jobsPerSecond });
    }
    return figures;
  },
};

/** The figure of the idle transaction's bar. */
export const idleGrowth = "behind an idle transaction: last fifth by the first";

const behindIdleTransaction: Scenario = {
  name: "behind an idle transaction",
  measure: async ({ isQuick, createQueue }) => {
    const count = isQuick ? 10_000 : 50_000;
    const queue = await createQueue();
    const tenantOf = (n: number): string => `tenant-${n % 50}`;
    const plan = { limit: 100, loops: 1 };
    await queue.enqueue({ tenantOf, count: 1_000 });
    await drain(queue, 1_000, plan);
    await queue.settleDown();
    const end = await openIdleTransaction(queue.databaseUrl);
    await queue.enqueue({ tenantOf, count });
    const { claims } = await drain(queue, count, plan);
    await end();
    const size = Math.ceil(claims.length / 5);
    const first = percentile(claims.slice(0, size), 0.5);
    const last = percentile(claims.slice(-size), 0.5);
    return [
      { name: "behind an idle transaction: first fifth, claim p50, ms", value: first },
      { name: "behind an idle transaction: last fifth, claim p50, ms", value: last },
      { name: idleGrowth, value: last / first },
    ];
  },
};

/** Whole drains: their rates, and their claims in order. */
export const drainScenarios: readonly Scenario[] = [
  drainScenario(2_000, 2, { full: 200_000, quick: 40_000 }),
  drainScenario(500, 2, { full: 150_000, quick: 30_000 }),
  drainScenario(100, 1, { full: 50_000, quick: 10_000 }),
  drainScenario(10, 1, { full: 10_000, quick: 2_000 }),
  fourClaimers,
  behindIdleTransaction,
];
