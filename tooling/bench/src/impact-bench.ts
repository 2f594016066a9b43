import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { enqueueMany } from "@evenkeel/jobs";
import { createLedger } from "@evenkeel/ledger";
import { startPostgres } from "@evenkeel/test-postgres";
import { Pool } from "pg";

import type { BenchSize } from "./bench-size.ts";
import { busyJob } from "./impact/jobs.ts";
import { startLoad, type LoadResult } from "./impact/load.ts";
import { atLeast, exactly, percentile, round, type BenchReport } from "./report.ts";

const secret = "bench";
const tickEveryMs = 15_000;

const amounts = {
  full: { jobs: 20_000, warmUpMs: 3_000 },
  quick: { jobs: 2_000, warmUpMs: 3_000 },
  smoke: { jobs: 400, warmUpMs: 500 },
};

/** What the product's users saw while one backlog drained. */
interface Drained extends LoadResult {
  readonly drainedMs: number;
}

/**
 * Measures an ordinary route of a product while a backlog drains: the old way, inside the cron request of the
 * same process, and dispatch-only with an Inngest server and a worker, all on this machine.
 */
export async function benchImpact({ size }: { readonly size: BenchSize }): Promise<BenchReport> {
  const amount = amounts[size];
  const { jobs } = amount;
  const old = await drainUnderLoad("inline", amount);
  const dispatched = await drainUnderLoad("dispatch", amount);
  const p99 = (result: LoadResult): number => percentile(result.latencies, 0.99);
  const rowsOf = (name: string, result: Drained): { name: string; value: number }[] => [
    ...[0.5, 0.95, 0.99].map((share) => ({
      name: `${name}: p${share * 100} ms`,
      value: round(percentile(result.latencies, share)),
    })),
    { name: `${name}: time-outs of 2 s`, value: result.timeouts },
    { name: `${name}: errors`, value: result.errors },
    { name: `${name}: requests`, value: result.latencies.length },
    { name: `${name}: backlog drained after s`, value: round(result.drainedMs / 1_000) },
  ];
  return {
    bars: [
      exactly("time-outs, dispatch-only", 0, dispatched.timeouts),
      exactly("errors, dispatch-only", 0, dispatched.errors),
      atLeast("p99, the old way by dispatch-only", 5, p99(old) / p99(dispatched)),
    ],
    rows: [
      { name: "jobs of 5 ms of CPU", value: jobs },
      ...rowsOf("old way", old),
      ...rowsOf("dispatch-only", dispatched),
    ],
  };
}

async function drainUnderLoad(
  mode: "inline" | "dispatch",
  { jobs, warmUpMs }: { readonly jobs: number; readonly warmUpMs: number },
): Promise<Drained> {
  const cluster = await startPostgres({ durable: true });
  const children: ChildProcess[] = [];
  const pool = new Pool({ connectionString: cluster.url(), max: 4 });
  // A connection that is still closing when the server stops is told so.
  pool.on("error", () => {});
  try {
    const ledger = createLedger({ pool });
    await ledger.migrate();
    await pool.query(
      `CREATE TABLE "product" ("id" int PRIMARY KEY, "name" text, "description" text);
       INSERT INTO "product" SELECT n, 'Product ' || n, repeat('words ', 50) FROM generate_series(1, 1000) AS n`,
    );
    for (let done = 0; done < jobs; done += 2_000) {
      const inputs = Array.from({ length: Math.min(2_000, jobs - done) }, (_, n) => ({
        tenantId: `tenant-${n % 20}`,
        payload: { n },
      }));
      await enqueueMany(pool, busyJob, inputs);
    }
    const [webPort, workerPort, enginePort] = [
      await freePort(),
      await freePort(),
      await freePort(),
    ];
    const engine = `http://127.0.0.1:${enginePort}`;
    const common = ["--database", cluster.url(), "--engine", engine, "--secret", secret];
    const host = join(import.meta.dirname, "impact", "host.ts");
    const startHost = (port: number, ...more: string[]): Promise<void> =>
      start(children, [host, "--port", String(port), ...common, ...more]);
    await startHost(webPort, ...(mode === "inline" ? ["--inline"] : []));
    if (mode === "dispatch") {
      await startHost(workerPort);
      const cli = join(import.meta.dirname, "../../../packages/engine/dist/cli.js");
      const app = `http://127.0.0.1:${workerPort}/api/inngest`;
      await start(children, [
        cli,
        "dev",
        "--url",
        app,
        "--host",
        "127.0.0.1",
        "--port",
        String(enginePort),
      ]);
      await untilSynced(engine);
    }
    const web = `http://127.0.0.1:${webPort}`;
    const warmUp = startLoad(`${web}/product`);
    await sleep(warmUpMs);
    await warmUp.stop();

    const load = startLoad(`${web}/product`);
    const startedAtMs = performance.now();
    const tick = (): void => void askCron(`${web}/api/cron/background-jobs`);
    tick();
    const ticking = setInterval(tick, tickEveryMs);
    while (await hasJobs(pool)) await sleep(250);
    clearInterval(ticking);
    const drainedMs = performance.now() - startedAtMs;
    return { ...(await load.stop()), drainedMs };
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await pool.end();
    await cluster.stop();
  }
}

async function start(children: ChildProcess[], args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [...args], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  await Promise.race([
    once(child.stdout, "data"),
    once(child, "exit").then(([code]) => {
      throw new Error(`${args[0] ?? ""} ended with ${String(code)}.`);
    }),
  ]);
}

async function untilSynced(engine: string): Promise<void> {
  for (;;) {
    const text = await fetch(`${engine}/dev`).then(
      (response) => response.text(),
      () => "",
    );
    if (text.includes("process-background-jobs")) return;
    await sleep(100);
  }
}

/** A tick. The old way answers when its budget is spent, so nobody waits here. */
async function askCron(url: string): Promise<void> {
  await fetch(url, { headers: { authorization: `Bearer ${secret}` } }).then(
    (response) => response.text(),
    () => "",
  );
}

async function hasJobs(pool: Pool): Promise<boolean> {
  const { rows } = await pool.query<{ left: boolean }>(
    `SELECT EXISTS (SELECT FROM "evenkeel"."background_job") AS "left"`,
  );
  return rows[0]?.left === true;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}
