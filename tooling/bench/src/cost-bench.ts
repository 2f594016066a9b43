import { startPostgres, type PostgresCluster } from "@evenkeel/test-postgres";

import type { BenchSize } from "./bench-size.ts";
import { openMovedProduct, type Executions } from "./cost/moved-product.ts";
import { runOneEventPerJob } from "./cost/one-event-per-job.ts";
import { atMost, exactly, round, type Bar, type BenchReport } from "./report.ts";

/** A month of 30 days. */
const minutesAMonth = 30 * 24 * 60;

/** How much of each is lived through: the rest of a month is more of the same. */
const amounts = {
  full: { idleMinutes: 24 * 60, flowMinutes: 60, sparseMinutes: 12 * 60 },
  quick: { idleMinutes: 6 * 60, flowMinutes: 30, sparseMinutes: 3 * 60 },
  smoke: { idleMinutes: 2 * 60, flowMinutes: 10, sparseMinutes: 60 },
};

/** A steady flow: 1,000 jobs in ten minutes, 4.3 million a month. */
const steadyPerMinute = 100;

/**
 * Counts what Inngest would bill: runs and steps, by the engine's own count, in moved time. A product with one schedule
 * of 60 s and every part of a host on; beside it the same jobs with an event and a run for each.
 */
export async function benchCost({ size }: { readonly size: BenchSize }): Promise<BenchReport> {
  const { idleMinutes, flowMinutes, sparseMinutes } = amounts[size];
  const cluster = await startPostgres({ durable: false });
  try {
    const idle = await live(cluster, "idle", idleMinutes, 0);
    const steady = await live(cluster, "steady", flowMinutes, steadyPerMinute);
    const plain = await runOneEventPerJob(size === "smoke" ? 200 : 1_000);
    const plainPerJob = sum(plain) / (size === "smoke" ? 200 : 1_000);
    const perThousand = (sum(steady) / steady.jobs) * 1_000;
    const lines = [{ name: "0", values: [round(aMonth(idle, idleMinutes)), 0, undefined] }];
    const bars: Bar[] = [
      atMost(
        "executions a month of an idle product",
        10_000,
        aMonth(idle, idleMinutes),
        `${idle.runs} runs and ${idle.steps} steps in ${idleMinutes} minutes`,
      ),
      atMost(
        "executions of a steady flow by one event per job, %",
        5,
        (perThousand / (plainPerJob * 1_000)) * 100,
        `${round(perThousand)} and ${round(plainPerJob * 1_000)} per 1,000 jobs`,
      ),
      exactly("jobs of the steady flow left undone", 0, steady.jobs - steady.done),
    ];
    for (const volume of [10_000, 1_000_000, 100_000_000]) {
      const perMinute = volume / minutesAMonth;
      const minutes = perMinute < 1 ? sparseMinutes : flowMinutes;
      const lived = await live(cluster, `m${volume}`, minutes, perMinute);
      const ours = aMonth(lived, minutes);
      const plainly = volume * plainPerJob;
      lines.push({
        name: volume.toLocaleString("en-US"),
        values: [Math.round(ours), Math.round(plainly), round((ours / plainly) * 100)],
      });
    }
    return {
      bars,
      rows: [
        { name: "counted by", value: "the embedded engine" },
        { name: "idle ticks of the idle product", value: idle.idleTicks },
        { name: "per 1,000 jobs of a steady flow of 100 a minute", value: round(perThousand) },
        { name: "per 1,000 jobs, one event per job", value: round(plainPerJob * 1_000) },
      ],
      table: {
        columns: ["executions a month", "with one event per job", "%"],
        lines,
        corner: "jobs a month",
      },
    };
  } finally {
    await cluster.stop();
  }
}

interface Lived extends Executions {
  readonly jobs: number;
  readonly done: number;
  readonly idleTicks: number;
}

/** Lives through so many minutes with a flow of jobs, after the ten minutes in which a host settles in. */
async function live(
  cluster: PostgresCluster,
  name: string,
  minutes: number,
  perMinute: number,
): Promise<Lived> {
  const product = await openMovedProduct(cluster, name);
  try {
    await product.pass(10);
    product.count();
    let jobs = 0;
    const jobsAt = (minute: number): number => {
      const more = Math.floor((minute + 1) * perMinute) - jobs;
      jobs += more;
      return more;
    };
    await product.pass(minutes, jobsAt);
    const idleTicks = product.modes.get("idle") ?? 0;
    return { ...product.count(), jobs, done: product.done(), idleTicks };
  } finally {
    await product.close();
  }
}

function sum({ runs, steps }: Executions): number {
  return runs + steps;
}

function aMonth(executions: Executions, minutes: number): number {
  return (sum(executions) / minutes) * minutesAMonth;
}
