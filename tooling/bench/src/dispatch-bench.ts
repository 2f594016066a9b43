import { silentLogger } from "@evenkeel/core";
import { createCronHandler, createDispatcher } from "@evenkeel/dispatch";
import { createEngine } from "@evenkeel/engine";
import { createBackgroundClient, createEventSender } from "@evenkeel/functions";
import { defineJob, enqueue } from "@evenkeel/jobs";
import { createLedger } from "@evenkeel/ledger";
import { startPostgres } from "@evenkeel/test-postgres";
import { Pool } from "pg";
import { z } from "zod";

import type { BenchSize } from "./bench-size.ts";
import { atMost, exactly, percentile, round, type Bar, type BenchReport } from "./report.ts";

type Handler = (request: Request) => Promise<Response>;

interface TickTimes {
  readonly dispatchP50: number;
  readonly dispatchP95: number;
  readonly duplicateP50: number;
  readonly duplicateP95: number;
}

const waitingJob = defineJob({ type: "bench.waiting", version: 1, payload: z.object({}) });

const secret = "bench";
const windowMs = 60_000;
const atOnce = 500;

/** Ticks of new windows and of the last of them again, and the rows of a full ledger. */
const amounts = {
  full: { dispatches: 200, duplicates: 2_000, filled: 10_000_000, scheduled: 200_000 },
  quick: { dispatches: 200, duplicates: 2_000, filled: 500_000, scheduled: 200_000 },
  smoke: { dispatches: 20, duplicates: 50, filled: 10_000, scheduled: 1_000 },
};

/**
 * Measures the cron route against a durable Postgres and an engine over HTTP: new windows and duplicates one
 * after another, 500 ticks of one window at once, and all of it again over a ledger full of rows; and
 * idle ticks with every tenant's work for tomorrow.
 */
export async function benchDispatch({ size }: { readonly size: BenchSize }): Promise<BenchReport> {
  const amount = amounts[size];
  const cluster = await startPostgres({ durable: true });
  const engine = createEngine({ retention: { events: 100 } });
  try {
    const { url } = await engine.listen({ host: "127.0.0.1" });
    const pool = new Pool({ connectionString: cluster.url(), max: 20 });
    // A connection that is still closing when the server stops is told so.
    pool.on("error", () => {});
    const ledger = createLedger({ pool });
    await ledger.migrate();
    const config = { dev: true, baseUrl: url };
    const logger = silentLogger;
    const client = createBackgroundClient({ appId: "bench", config, owner: "bench", logger });
    const dispatcher = createDispatcher({
      ledger,
      send: createEventSender(client),
      config: {
        useInngest: { enabled: true, because: "bench" },
        windowSeconds: windowMs / 1_000,
      },
      environment: "bench",
      owner: "bench",
      logger,
    });
    const handler = createCronHandler({ dispatcher, cronSecrets: [secret], logger });
    const clock = new WindowClock();
    // One job that nobody serves: without anything due a tick would send nothing.
    await enqueue(pool, waitingJob, { tenantId: "bench", payload: {} });
    await measureTicks(handler, clock, amount);
    const empty = await measureTicks(handler, clock, amount);
    const burst = await measureBurst(handler, clock);

    await fill(pool, amount.filled);
    await measureTicks(handler, clock, amount);
    const full = await measureTicks(handler, clock, amount);
    await becomeIdle(pool, amount.scheduled);
    await measureIdle(handler, clock, amount.dispatches);
    const idle = await measureIdle(handler, clock, amount.dispatches);
    await ledger.close();
    await pool.end();

    const ratio = (a: number, b: number): number => round(a / b);
    const bars: Bar[] = [
      atMost("tick to 202, p95 ms", 25, empty.dispatchP95),
      atMost("duplicate tick, p95 ms", 5, empty.duplicateP95),
      exactly(`dispatches of ${atOnce} ticks at once`, 1, burst.dispatched),
      exactly(`errors of ${atOnce} ticks at once`, 0, burst.errors),
      atMost(
        "tick to 202 over a full ledger, ratio of p50",
        1.2,
        ratio(full.dispatchP50, empty.dispatchP50),
      ),
      atMost(
        "duplicate over a full ledger, ratio of p50",
        1.2,
        ratio(full.duplicateP50, empty.duplicateP50),
      ),
      atMost("tick to 202 over a full ledger, p95 ms", 25, full.dispatchP95),
      atMost("duplicate tick over a full ledger, p95 ms", 5, full.duplicateP95),
      atMost("idle tick, work for tomorrow, p95 ms", 3, percentile(idle, 0.95)),
    ];
    const rows = [
      { name: "rows in a full ledger: windows, and as many runs", value: amount.filled },
      { name: "tick to 202, p50 ms", value: round(empty.dispatchP50) },
      { name: "duplicate tick, p50 ms", value: round(empty.duplicateP50) },
      { name: "tenants with work for tomorrow", value: amount.scheduled },
      { name: "idle tick, p50 ms", value: round(percentile(idle, 0.5)) },
      { name: `${atOnce} ticks at once, all answered after ms`, value: round(burst.elapsedMs) },
      {
        name: "tick to 202 over a full ledger, ratio of p95",
        value: ratio(full.dispatchP95, empty.dispatchP95),
      },
      {
        name: "duplicate over a full ledger, ratio of p95",
        value: ratio(full.duplicateP95, empty.duplicateP95),
      },
    ];
    return { bars, rows };
  } finally {
    await engine.close();
    await cluster.stop();
  }
}

/** Hands out scheduled times, a window further each time, within the lateness that the route takes. */
class WindowClock {
  #next = Date.now() - 23 * 60 * 60 * 1_000;

  next(): string {
    this.#next += windowMs;
    if (this.#next > Date.now()) throw new Error("The bench has used up its windows.");
    return new Date(this.#next).toISOString();
  }
}

function tick(handler: Handler, scheduledAt: string): Promise<Response> {
  const headers = { authorization: `Bearer ${secret}`, "x-evenkeel-scheduled-at": scheduledAt };
  return handler(new Request("http://127.0.0.1/api/cron/background-jobs", { headers }));
}

async function measureTicks(
  handler: Handler,
  clock: WindowClock,
  { dispatches, duplicates }: { readonly dispatches: number; readonly duplicates: number },
): Promise<TickTimes> {
  const dispatchTimes: number[] = [];
  let last = "";
  for (let sample = 0; sample < dispatches; sample += 1) {
    last = clock.next();
    dispatchTimes.push(await time(() => tick(handler, last), 202));
  }
  const duplicateTimes: number[] = [];
  for (let sample = 0; sample < duplicates; sample += 1) {
    duplicateTimes.push(await time(() => tick(handler, last), 200));
  }
  return {
    dispatchP50: percentile(dispatchTimes, 0.5),
    dispatchP95: percentile(dispatchTimes, 0.95),
    duplicateP50: percentile(duplicateTimes, 0.5),
    duplicateP95: percentile(duplicateTimes, 0.95),
  };
}

/** Idle ticks of new windows, each of which is counted on the schedule. */
async function measureIdle(
  handler: Handler,
  clock: WindowClock,
  ticks: number,
): Promise<readonly number[]> {
  const times: number[] = [];
  for (let sample = 0; sample < ticks; sample += 1) {
    const scheduledAt = clock.next();
    times.push(await time(() => tick(handler, scheduledAt), 200));
  }
  return times;
}

/** Nothing is due: upkeep was a moment ago, every window had its run, and each tenant's work is for tomorrow. */
async function becomeIdle(pool: Pool, tenants: number): Promise<void> {
  await pool.query(
    `DELETE FROM evenkeel.background_job;
     DELETE FROM evenkeel.background_dispatch_window WHERE schedule = 'background-jobs'`,
  );
  await pool.query(
    `INSERT INTO evenkeel.background_dispatch_window (dispatch_key, schedule, scope, window_start,
       window_seconds, status, fence, owner, correlation_id, enqueued_at)
     VALUES ('upkeep', 'upkeep', 'global', now(), 60, 'ENQUEUED', gen_random_uuid(), 'bench', 'bench', now())`,
  );
  await pool.query(
    `INSERT INTO evenkeel.background_job (tenant_id, type, payload, max_attempts, state, run_at, turn_at, bucket)
     SELECT 'tenant-' || n, 'bench.tomorrow', '{}', 1, 'SCHEDULED', now() + interval '1 day',
       now() + interval '1 day', n % 10000
     FROM generate_series(1, $1::int) AS n`,
    [tenants],
  );
  await pool.query("VACUUM ANALYZE evenkeel.background_job, evenkeel.background_dispatch_window");
}

async function time(call: () => Promise<Response>, expected: number): Promise<number> {
  const startedAt = performance.now();
  const { status } = await call();
  const elapsedMs = performance.now() - startedAt;
  if (status !== expected) throw new Error(`A tick was answered ${status} instead of ${expected}.`);
  return elapsedMs;
}

async function measureBurst(
  handler: Handler,
  clock: WindowClock,
): Promise<{ readonly dispatched: number; readonly errors: number; readonly elapsedMs: number }> {
  const scheduledAt = clock.next();
  const startedAt = performance.now();
  const answers = await Promise.all(
    Array.from({ length: atOnce }, () => tick(handler, scheduledAt).then(({ status }) => status)),
  );
  return {
    dispatched: answers.filter((status) => status === 202).length,
    errors: answers.filter((status) => status !== 202 && status !== 200).length,
    elapsedMs: performance.now() - startedAt,
  };
}

/** Windows and runs of the past, as a product would have after years. */
async function fill(pool: Pool, count: number): Promise<void> {
  const batch = 500_000;
  for (let from = 0; from < count; from += batch) {
    const to = Math.min(count, from + batch);
    await pool.query(
      `INSERT INTO "evenkeel"."background_dispatch_window" ("dispatch_key", "schedule", "scope",
         "window_start", "window_seconds", "status", "fence", "owner", "correlation_id", "enqueued_at")
       SELECT 'old|v1|global|60|' || "n", 'old', 'global', now() - "n" * interval '1 minute', 60,
         'ENQUEUED', gen_random_uuid(), 'bench', 'bench', now() - "n" * interval '1 minute'
       FROM generate_series($1::int, $2::int) AS "n"`,
      [from + 1, to],
    );
    await pool.query(
      `INSERT INTO "evenkeel"."background_function_run" ("run_id", "function_id", "dispatch_key",
         "event_name", "status", "owner", "started_at", "finished_at")
       SELECT 'run-' || "n", 'bench-process-background-jobs', 'old|v1|global|60|' || "n",
         'background/process.requested', 'SUCCEEDED', 'bench', now() - "n" * interval '1 minute', now()
       FROM generate_series($1::int, $2::int) AS "n"`,
      [from + 1, to],
    );
  }
  await pool.query("VACUUM ANALYZE");
  await pool.query("CHECKPOINT");
}
