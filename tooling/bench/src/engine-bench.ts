// Measures the engine against its budgets: events to a one-step function, in process, on one core.
// Usage: node tooling/bench/src/engine-bench.ts [--events 10000] [--json]
import { cpus } from "node:os";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { Inngest } from "inngest";
import { serve } from "inngest/edge";
import { z } from "zod";
import { type Clock, type Engine, createEngine, realClock, virtualClock } from "@evenkeel/engine";

interface Measure {
  readonly runsPerSecond: number;
  readonly runsPerCpuSecond: number;
  readonly heapMb: number;
}

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** What the bare app reads of a sync or a call request. */
const requestSchema = z.object({
  url: z.string().default(""),
  ctx: z
    .object({
      run_id: z.string(),
      fn_id: z.string(),
      qi_id: z.string(),
      generation_id: z.number(),
    })
    .default({ run_id: "", fn_id: "", qi_id: "", generation_id: 0 }),
});

type Handler = (request: Request) => Promise<Response>;

/** An app as the SDK serves it. Most of its time is the SDK's own. */
function serveWithSdk(engine: Pick<Engine, "url" | "fetch">): Handler {
  const inngest = new Inngest({
    id: "bench",
    isDev: true,
    baseUrl: engine.url,
    fetch: engine.fetch,
    logger: silent,
  });
  const fn = inngest.createFunction(
    { id: "one-step", triggers: [{ event: "bench/event" }] },
    async ({ step }) => step.run("work", () => 1),
  );
  return serve({ client: inngest, functions: [fn] });
}

/**
 * What the SDK's `serve` answers by itself: the same call request over and over, beside a server that costs
 * nothing. No engine can start more runs of such an app per second.
 */
async function measureSdkAlone(requests: number, atOnce: number): Promise<number> {
  const handler = serveWithSdk({
    url: "http://engine.invalid",
    fetch: async () => Response.json({}),
  });
  const event = { id: "e", name: "bench/event", data: {}, ts: 1 };
  const body = JSON.stringify({
    version: 2,
    event,
    events: [event],
    steps: {},
    ctx: {
      run_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV",
      fn_id: "bench-one-step",
      attempt: 0,
      qi_id: "item",
      generation_id: 1,
      disable_immediate_execution: false,
      stack: { stack: [], current: 0 },
    },
  });
  const request = (): Request =>
    new Request("http://app.invalid/api/inngest?fnId=bench-one-step&stepId=step", {
      method: "POST",
      body,
      headers: {
        host: "app.invalid",
        "content-type": "application/json",
        "x-inngest-server-kind": "dev",
      },
    });
  let left = requests;
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left-- > 0) {
        const response = await handler(request());
        if (!(await response.text()).includes("RunComplete")) {
          throw new Error(`the SDK answered ${response.status}`);
        }
      }
    }),
  );
  return requests / ((performance.now() - startedAt) / 1_000);
}

/** The same app in the protocol's bare words, as the SDK puts them: a checkpoint, and the run's end. */
function serveBare(engine: Engine): Handler {
  const headers = {
    "content-type": "application/json",
    "x-inngest-sdk": "bench:v1.0.0",
    "x-inngest-req-version": "2",
  };
  const step = { op: "StepRun", id: "9f".repeat(20), name: "work", displayName: "work", data: 1 };
  return async (request) => {
    const body = requestSchema.parse(await request.json());
    if (request.method === "PUT") {
      return Response.json(
        {
          app_id: "bench",
          url: body.url,
          sdk: "bench:v1.0.0",
          framework: "bare",
          functions: [
            {
              id: "bench-one-step",
              name: "one-step",
              triggers: [{ event: "bench/event" }],
              steps: {
                step: {
                  id: "step",
                  runtime: { type: "http", url: `${body.url}?fnId=bench-one-step&stepId=step` },
                },
              },
            },
          ],
        },
        { headers: { ...headers, "x-inngest-sync-kind": "in_band" } },
      );
    }
    await engine.fetch(`${engine.url}/v1/checkpoint/${body.ctx.run_id}/async`, {
      method: "POST",
      body: JSON.stringify({
        run_id: body.ctx.run_id,
        fn_id: body.ctx.fn_id,
        qi_id: body.ctx.qi_id,
        generation_id: body.ctx.generation_id,
        steps: [step],
        ts: 0,
      }),
    });
    return new Response(JSON.stringify([{ op: "RunComplete", id: "c0".repeat(20), data: 1 }]), {
      status: 206,
      headers,
    });
  };
}

async function measureThroughput(
  clock: Clock,
  events: number,
  serveApp: (engine: Engine) => Handler,
): Promise<Measure> {
  const engine: Engine = createEngine({ clock, handler: (request) => handler(request) });
  const handler = serveApp(engine);
  await engine.send(Array.from({ length: 200 }, () => ({ name: "bench/event" })));
  await engine.settled();
  const startedAt = performance.now();
  const cpuBefore = process.cpuUsage();
  for (let sent = 0; sent < events; sent += 1_000) {
    await engine.send(
      Array.from({ length: Math.min(1_000, events - sent) }, () => ({ name: "bench/event" })),
    );
  }
  await engine.settled();
  const seconds = (performance.now() - startedAt) / 1_000;
  const cpu = process.cpuUsage(cpuBefore);
  const completed = engine.runs({ status: "Completed" }).length;
  if (completed < Math.min(events, 10_000)) throw new Error(`only ${completed} runs completed`);
  await engine.close();
  return {
    runsPerSecond: events / seconds,
    runsPerCpuSecond: (events * 1_000_000) / (cpu.user + cpu.system),
    heapMb: process.memoryUsage().heapUsed / 1_048_576,
  };
}

/** How often each bar is measured. The best counts: what else the machine does can only slow it down. */
const rounds = 3;

async function measureBest(measure: () => Promise<Measure>): Promise<Measure> {
  let best = await measure();
  for (let round = 1; round < rounds; round += 1) {
    const next = await measure();
    if (next.runsPerSecond > best.runsPerSecond) best = next;
  }
  return best;
}

/** From sending an event to the first line of its function, one at a time. */
async function measureStart(samples: number): Promise<number> {
  const waits: number[] = [];
  let sentAt = 0;
  const engine = createEngine({ clock: realClock(), handler: (request) => handler(request) });
  const inngest = new Inngest({
    id: "bench",
    isDev: true,
    baseUrl: engine.url,
    fetch: engine.fetch,
    logger: silent,
  });
  const fn = inngest.createFunction(
    { id: "start", triggers: [{ event: "bench/start" }] },
    async () => void waits.push(performance.now() - sentAt),
  );
  const handler = serve({ client: inngest, functions: [fn] });
  for (let sample = 0; sample < samples; sample += 1) {
    sentAt = performance.now();
    await engine.send({ name: "bench/start" });
    await engine.settled();
  }
  await engine.close();
  const sorted = waits.slice(samples / 10).toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.95)] ?? Number.NaN;
}

const { values } = parseArgs({
  options: { events: { type: "string", default: "10000" }, json: { type: "boolean" } },
});
const events = Number(values.events);
const real = await measureBest(() => measureThroughput(realClock(), events, serveBare));
const virtual = await measureBest(() => measureThroughput(virtualClock(), events, serveBare));
const sdkReal = await measureThroughput(realClock(), events / 5, serveWithSdk);
const sdkVirtual = await measureThroughput(virtualClock(), events / 5, serveWithSdk);
const aloneAtOnce = await measureSdkAlone(events / 5, 100);
const aloneInTurn = await measureSdkAlone(events / 5, 1);
let startP95Ms = Number.POSITIVE_INFINITY;
for (let round = 0; round < rounds; round += 1) {
  startP95Ms = Math.min(startP95Ms, await measureStart(500));
}
const bars = [
  {
    name: "runs/s, real time",
    target: ">= 1500",
    value: Math.round(real.runsPerSecond),
    ok: real.runsPerSecond >= 1_500,
  },
  {
    name: "runs/s, virtual time",
    target: ">= 3000",
    value: Math.round(virtual.runsPerSecond),
    ok: virtual.runsPerSecond >= 3_000,
  },
  {
    name: "event to start, p95 ms",
    target: "<= 5",
    value: Number(startP95Ms.toFixed(2)),
    ok: startP95Ms <= 5,
  },
];
const rows = [
  { name: "events", value: events },
  { name: "rounds, the best counts", value: rounds },
  { name: "runs per CPU second, real time", value: Math.round(real.runsPerCpuSecond) },
  { name: "runs per CPU second, virtual time", value: Math.round(virtual.runsPerCpuSecond) },
  { name: "runs/s with the SDK's serve, real time", value: Math.round(sdkReal.runsPerSecond) },
  {
    name: "runs/s with the SDK's serve, virtual time",
    value: Math.round(sdkVirtual.runsPerSecond),
  },
  { name: "answers/s of the SDK alone, 100 at once", value: Math.round(aloneAtOnce) },
  { name: "answers/s of the SDK alone, one after another", value: Math.round(aloneInTurn) },
  {
    name: "share of the SDK's limit, real time",
    value: Number((sdkReal.runsPerSecond / aloneAtOnce).toFixed(2)),
  },
  {
    name: "share of the SDK's limit, virtual time",
    value: Number((sdkVirtual.runsPerSecond / aloneInTurn).toFixed(2)),
  },
  { name: "heap after real time, MB", value: Math.round(real.heapMb) },
  { name: "heap after virtual time, MB", value: Math.round(virtual.heapMb) },
];
const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, node: process.version };
for (const bar of bars) {
  process.stdout.write(`${bar.ok ? "ok  " : "MISS"} ${bar.name}: ${bar.value} (${bar.target})\n`);
}
for (const row of rows) process.stdout.write(`     ${row.name}: ${row.value}\n`);
if (values.json === true) process.stdout.write(`${JSON.stringify({ bars, rows, machine })}\n`);
