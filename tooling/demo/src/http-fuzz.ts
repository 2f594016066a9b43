import { parseArgs } from "node:util";

import { array, assert, asyncProperty } from "fast-check";

import { sendAndLeave, sendAndRead } from "./fuzz/raw-client.ts";
import { encodeRequest, fuzzedRequest, type FuzzedRequest } from "./fuzz/request.ts";
import { listenForTheEnd } from "./interruption.ts";
import { createProgress, type Progress } from "./progress.ts";
import { buildEverything } from "./system/build.ts";
import type { Child } from "./system/child.ts";
import { Teardown } from "./system/teardown.ts";

/*
 * Sends requests that make no sense to the hosts: request lines, headers and bodies, by clients that wait and by
 * clients that leave. None may end a process, stay without a response, or be a failure of the host's own.
 *
 *   pnpm test:http [--runs 300] [--seed N] [--json]
 */
const { values } = parseArgs({
  args: process.argv.slice(2).filter((arg) => arg !== "--"),
  options: {
    runs: { type: "string", default: "300" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const runs = Math.max(1, Math.trunc(Number(values.runs)) || 300);
const seed = Math.trunc(Number(values.seed)) || 1;

/** A host under test. */
interface Host {
  readonly name: string;
  readonly child: Child;
  readonly port: number;
  readonly healthPath: string;
  /** Whether a response with status 500 is a failure of the host's own code. */
  isOwnFailure(target: string, response: string): boolean;
}

async function run(teardown: Teardown, progress: Progress, signal: AbortSignal): Promise<boolean> {
  progress.say("Building");
  await buildEverything(teardown, signal);
  const { startSystem } = await import("./system/system.ts");
  const system = await startSystem(teardown, signal);
  const [web] = system.webs;
  const [worker] = system.workers;
  if (web === undefined || worker === undefined) throw new Error("A host is missing.");
  const hosts: Host[] = [
    {
      name: "web",
      child: web,
      port: portOf(system.webUrl),
      healthPath: "/api/health",
      // Next responds in plain text to targets that it cannot parse.
      isOwnFailure: (_target, response) => response.includes(`{"error":"internal"}`),
    },
    {
      name: "worker",
      child: worker,
      port: portOf(system.workerUrl),
      healthPath: "/readyz",
      // The SDK responds with 500 to calls that it does not know.
      isOwnFailure: (target) => !target.includes("/api/inngest"),
    },
  ];
  const counts: Record<string, Record<string, number>> = {};
  for (const host of hosts) {
    progress.say(`${runs} runs against the ${host.name}, seed ${seed}`);
    counts[host.name] = await fuzz(host, system.cronSecret, signal);
  }
  for (const [name, statuses] of Object.entries(counts)) {
    process.stderr.write(`  ${name.padEnd(8)} ${JSON.stringify(statuses)}\n`);
  }
  if (values.json) console.log(JSON.stringify({ seed, runs, statuses: counts, ok: true }));
  return true;
}

/** Returns how many requests got which status. @throws Error with the requests that broke the host. */
async function fuzz(
  host: Host,
  secret: string,
  signal: AbortSignal,
): Promise<Record<string, number>> {
  const statuses: Record<string, number> = {};
  const requests = array(fuzzedRequest(`127.0.0.1:${host.port}`, secret), {
    minLength: 1,
    maxLength: 8,
  });
  const property = asyncProperty(requests, async (batch) => {
    signal.throwIfAborted();
    for (const status of await Promise.all(batch.map((request) => send(host, request)))) {
      statuses[status] = (statuses[status] ?? 0) + 1;
    }
    if (host.child.hasEnded) throw new Error(`The ${host.name} ended:\n${host.child.lastLines()}`);
    const health = await fetch(`http://127.0.0.1:${host.port}${host.healthPath}`);
    if (health.status !== 200) throw new Error(`The ${host.name} is ill: ${health.status}.`);
  });
  await assert(property, { numRuns: runs, seed, endOnFailure: false });
  return statuses;
}

async function send(host: Host, request: FuzzedRequest): Promise<string> {
  const bytes = encodeRequest(request);
  if (request.leaves) {
    await sendAndLeave(host.port, bytes);
    return "left";
  }
  const response = await sendAndRead(host.port, bytes);
  const status = /^HTTP\/1\.[01] (\d{3}) /u.exec(response)?.[1] ?? "closed";
  if (status === "500" && host.isOwnFailure(request.target, response)) {
    throw new Error(
      `The ${host.name} failed:\n${response.slice(0, 500)}\n${host.child.lastLines()}`,
    );
  }
  return status;
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}

/** The counterexample, and after it what the host did. */
function describe(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : "";
  return `${String(error)}\n${cause}`;
}

const signal = listenForTheEnd();
const teardown = new Teardown();
try {
  process.exitCode = (await run(teardown, createProgress(process.stderr), signal)) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${signal.aborted ? "Stopped." : describe(error)}\n`);
  process.exitCode = signal.aborted ? 130 : 1;
} finally {
  await teardown.run();
  process.exit();
}
