import { percentile } from "../report.ts";
import { benchType, type BenchQueue } from "./bench-queue.ts";
import { byThat, timeWarmClaims, toFigures, type Subject } from "./claim-times.ts";
import type { Figure, Scenario } from "./scenario.ts";

/** How many of 50 tenants have a cap. */
const cappedTenants = [0, 1, 10, 50];

/** Most running jobs of a tenant with a cap. */
const maxRunning = 5;

/** The figures of the bars. */
export const limitFigures: {
  /** A claim's median with so many tenants capped; one for each number. */
  readonly medians: readonly string[];
  /** The same by that of a queue without limits. */
  readonly ratios: readonly string[];
  readonly atCap: string;
} = {
  medians: cappedTenants.map((capped) => `${cappedName(capped)}: claim p50, ms`),
  ratios: cappedTenants.slice(1).map(ratioName),
  atCap: "tenants at their cap passed, ms",
};

function cappedName(capped: number): string {
  return `${capped} of 50 tenants capped`;
}

function ratioName(capped: number): string {
  return `${cappedName(capped)} by none: claim p50`;
}

const someCapped: Scenario = {
  name: "limits",
  measure: async ({ isQuick, createQueue }) => {
    const subjects: Subject[] = [];
    for (const capped of cappedTenants) {
      const queue = await createQueue();
      await queue.enqueue({ tenantOf: (n) => `tenant-${n % 50}`, count: 20_000 });
      for (let tenant = 0; tenant < capped; tenant += 1) {
        await queue.cap(`tenant-${tenant}`, maxRunning);
      }
      await queue.settleDown();
      subjects.push({ name: cappedName(capped), queue, types: [benchType] });
    }
    const timed = await timeWarmClaims(subjects, [100], isQuick ? 60 : 300);
    const [without] = timed;
    const ratios: Figure[] = timed.flatMap((times, index) => {
      const capped = cappedTenants[index] ?? 0;
      return without === undefined || capped === 0
        ? []
        : [{ name: ratioName(capped), value: byThat(times, without, 0.5) }];
    });
    return [
      ...timed.flatMap((times, index) => toFigures(subjects[index]?.name ?? "", times)),
      ...ratios,
    ];
  },
};

/**
 * Every tenant runs as much as it may, and has more; and one more tenant has a job. The rotation has just passed that
 * one, so it is the last that a claim comes to, whatever the order of the tenants is.
 */
const allButOneAtCap: Scenario = {
  name: "tenants at their cap",
  measure: async ({ isQuick, createQueue }) => {
    const tenants = isQuick ? 2_000 : 10_000;
    const queue = await createQueue();
    await queue.cap(undefined, 1);
    await queue.enqueue({ tenantOf: (n) => `tenant-${n % tenants}`, count: 2 * tenants });
    await queue.settleDown();
    let running = 0;
    while (running < tenants) {
      const { jobs } = await queue.claim({ types: [benchType], limit: 1_000 });
      if (jobs.length === 0) throw new Error(`${running} of ${tenants} tenants run a job.`);
      running += jobs.length;
    }
    await queue.settleDown();
    // The first one moves the rotation.
    await passToOpen(queue);
    const times: number[] = [];
    for (let sample = 0; sample < (isQuick ? 5 : 15); sample += 1) {
      times.push(await passToOpen(queue));
    }
    return [{ name: limitFigures.atCap, value: percentile(times, 0.5) }];
  },
};

/** Milliseconds until a job of the open tenant is claimed. */
async function passToOpen(queue: BenchQueue): Promise<number> {
  await queue.enqueue({ tenantOf: () => "open", count: 1 });
  const startedAtMs = performance.now();
  for (let claims = 1; claims <= 1_000; claims += 1) {
    const { jobs } = await queue.claim({ types: [benchType], limit: 100 });
    if (jobs.length === 0) continue;
    const tookMs = performance.now() - startedAtMs;
    await queue.start?.(jobs);
    await queue.succeed(jobs);
    return tookMs;
  }
  throw new Error("The open tenant's job was not claimed in 1,000 claims.");
}

/** Claims under limits. */
export const limitScenarios: readonly Scenario[] = [someCapped, allButOneAtCap];
