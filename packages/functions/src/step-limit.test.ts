import { createEngine, virtualClock, type Engine } from "@evenkeel/engine";
import { jobRequested, maintenanceRequested, processRequested } from "@evenkeel/events";
import { defineJob, enqueueMany, handleJob } from "@evenkeel/jobs";
import {
  createTestDatabase,
  startSilentProxy,
  type SilentProxy,
  type TestDatabase,
} from "@evenkeel/test-postgres/testing";
import { NonRetriableError } from "inngest";
import { serve } from "inngest/edge";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";

import { createBackground, type Background } from "./background.ts";
import { windowEvent } from "./testing/background-app.ts";

/** A host that ends what takes longer. Work is over after 2 s, and a step is given up after 3.5 s. */
const hostTimeoutMs = 7_000;

type Part = "sender" | "ledger";

const noteJob = defineJob({ type: "note.write", version: 1, payload: z.object({}) });
const aloneJob = defineJob({
  type: "note.alone",
  version: 1,
  payload: z.object({}),
  isolated: true,
});

let database: TestDatabase;
let proxy: SilentProxy;
let engine: Engine;
let background: Background<[Request], Promise<Response>>;
/** The function in whose first request a part begins to hang. */
let hangs: { readonly part: Part; readonly function: string } | undefined;
let isSenderSilent: boolean;
/** What became of each request of that function: the host got a response, or ended it. */
let requests: ("answered" | "cut off")[];

beforeEach(async () => {
  database = await createTestDatabase();
  proxy = await startSilentProxy(database.databaseUrl);
  [hangs, isSenderSilent, requests] = [undefined, false, []];
  engine = createEngine({
    handler: onHost,
    clock: virtualClock({ start: Date.now() }),
    stallMs: 100_000,
  });
  background = createBackground({
    appId: "app",
    environment: {
      CRON_SECRET: "0123456789abcdef",
      INNGEST_DEV: "1",
      INNGEST_BASE_URL: engine.url,
    },
    pool: proxy.connect(4, 10_000),
    handlers: [handleJob(noteJob, async () => {}), handleJob(aloneJob, async () => {})],
    functions: (client) => [
      client.createFunction({ id: "fails", triggers: [{ event: "test/fails" }] }, () => {
        throw new NonRetriableError("always");
      }),
    ],
    maintenance: { pruner: true },
    idleTimeoutMs: 0,
    stepBudgetMs: 1_000,
    runBudgetMs: 0,
    runner: { concurrency: 1, batchSize: 1 },
    hostTimeoutMs,
    serve,
    fetch: async (input, init) => {
      const url = new URL(input instanceof Request ? input.url : input);
      // It ignores every signal.
      if (isSenderSilent && url.pathname.startsWith("/e/")) return new Promise<Response>(() => {});
      return engine.fetch(input, init);
    },
  });
});
afterEach(async () => {
  proxy.restore();
  await engine.close();
  await background.close();
  await proxy.close();
  await database.drop();
});

/** The host of the functions: it ends a request that takes too long. */
async function onHost(request: Request): Promise<Response> {
  const functionId = new URL(request.url).searchParams.get("fnId");
  if (request.method !== "POST" || functionId !== hangs?.function)
    return background.inngest(request);
  if (hangs?.part === "sender") isSenderSilent = true;
  else proxy.fallSilent();
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<"cut off">((resolve) => {
    timer = setTimeout(() => resolve("cut off"), hostTimeoutMs);
  });
  const answer = await Promise.race([background.inngest(request), limit]);
  clearTimeout(timer);
  requests.push(answer === "cut off" ? answer : "answered");
  return answer === "cut off" ? new Response(null, { status: 504 }) : answer;
}

/** Windows whose send failed, windows that no tick asked for, events in the outbox, and jobs. */
async function leaveWork(): Promise<void> {
  const { watchdog, ledger } = background.parts();
  await watchdog.declare();
  await database.pool.query(
    `UPDATE evenkeel.background_schedule SET updated_at = now() - interval '10 minutes'`,
  );
  for (let minute = 1; minute <= 3; minute += 1) {
    const windowStart = new Date(Date.now() - minute * 60_000);
    const dispatchKey = `other|v1|global|60|${windowStart.toISOString()}`;
    const claim = await ledger.windows.claim({
      dispatchKey,
      schedule: "other",
      scope: "global",
      windowStart,
      windowSeconds: 60,
      lane: "stable",
      owner: "host-1",
      correlationId: "c",
      leaseMs: 30_000,
    });
    if (claim.outcome !== "claimed") throw new Error("It is claimed.");
    await ledger.windows.markFailed(dispatchKey, claim.fence, "unreachable");
  }
  await ledger.outbox.add(database.pool, [{ id: "event-1", name: "shop/sold", data: {} }]);
}

async function leaveJobs(): Promise<void> {
  const notes = Array.from({ length: 40 }, () => ({ tenantId: "t", payload: {} }));
  await enqueueMany(database.pool, noteJob, notes);
  await enqueueMany(database.pool, aloneJob, [{ tenantId: "t", payload: {} }]);
}

/** An event that asks for a run of an isolated job that was just delegated. */
function jobEvent(): Parameters<Engine["send"]>[0] {
  const { name, version: schemaVersion } = jobRequested;
  const data = {
    jobId: "1",
    fence: "1001",
    tenantId: "t",
    type: "note.alone",
    lane: "stable",
    schemaVersion,
  };
  return { id: "job-1", name, data };
}

// Isolated jobs and dead letters send nothing.
const table: readonly (readonly [
  fn: string,
  part: Part,
  event: () => Parameters<Engine["send"]>[0],
])[] = [
  ["background-maintenance", "sender", () => ({ ...windowEvent(maintenanceRequested) })],
  ["background-maintenance", "ledger", () => ({ ...windowEvent(maintenanceRequested) })],
  ["process-background-jobs", "sender", () => ({ ...windowEvent(processRequested) })],
  ["process-background-jobs", "ledger", () => ({ ...windowEvent(processRequested) })],
  ["run-isolated-job", "ledger", jobEvent],
  ["file-dead-letters", "ledger", () => ({ name: "test/fails", data: {} })],
];

test.each(table)(
  "%s: every step answers before its host's limit while the %s hangs",
  async (fn, part, event) => {
    await leaveWork();
    await leaveJobs();
    await engine.register(onHost);
    hangs = { part, function: `app-${fn}` };
    await engine.send(event());
    await engine.settled();
    expect(requests.length).toBeGreaterThanOrEqual(1);
    expect(requests).not.toContain("cut off");
    if (fn !== "process-background-jobs" || part === "ledger") return;
    // It came as far as the send that hung.
    const steps = engine.runs({ function: `app-${fn}` }).flatMap((run) => run.steps);
    expect(steps.map(({ name }) => name)).toContain("continue");
  },
  120_000,
);

test("what maintenance leaves when the sender hangs is for the next run", async () => {
  await leaveWork();
  await engine.register(onHost);
  hangs = { part: "sender", function: "app-background-maintenance" };
  await engine.send({ ...windowEvent(maintenanceRequested) });
  await engine.settled();
  expect(requests).not.toContain("cut off");
  const [first] = engine.runs({ function: "app-background-maintenance" });
  expect(first).toMatchObject({ status: "Completed", output: { repaired: 0, failed: 1, left: 2 } });
  expect(await statuses()).toEqual(["ENQUEUE_FAILED", "ENQUEUE_FAILED", "ENQUEUE_FAILED"]);
  [hangs, isSenderSilent] = [undefined, false];
  // The pause after the first repair has passed.
  await database.pool.query(`UPDATE evenkeel.background_dispatch_window SET next_repair_at = NULL`);
  await engine.send({ ...windowEvent(maintenanceRequested) });
  await engine.settled();
  expect(await statuses()).toEqual(["ENQUEUED", "ENQUEUED", "ENQUEUED"]);
}, 120_000);

async function statuses(): Promise<string[]> {
  const { rows } = await database.pool.query<{ status: string }>(
    `SELECT status FROM evenkeel.background_dispatch_window WHERE schedule = 'other'`,
  );
  return rows.map(({ status }) => status);
}
