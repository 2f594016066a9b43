import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Client } from "pg";
import { z } from "zod";

import { freePort } from "./faults/gate.ts";
import { root } from "./paths.ts";
import type { Progress } from "./progress.ts";
import { startChild, waitUntilUp } from "./system/child.ts";
import type { System } from "./system/system.ts";
import type { Teardown } from "./system/teardown.ts";

/** What the demo saw of handshakes. */
export interface HandshakeShow {
  /** How long the worker's first one took; `undefined`: it did not come back. */
  readonly roundTripMs: number | undefined;
  /** What was named first for a wrong signing key, and how soon. Absent: there was no database to show it on. */
  readonly named?: { readonly cause: string; readonly afterMs: number };
}

const readiness = z.object({
  handshake: z
    .object({
      lastOkAt: z.string().nullable(),
      roundTripMs: z.number().nullable(),
      suspects: z.array(z.object({ cause: z.string(), evidence: z.string(), remedy: z.string() })),
    })
    .nullable(),
});

/** How long each of the two may take before the demo goes on without it, in milliseconds. */
const patienceMs = 60_000;

interface Means {
  readonly progress: Progress;
  readonly teardown: Teardown;
  readonly signal: AbortSignal;
}

/** Shows the handshake of the worker that has started, and of one whose signing key is wrong. */
export async function showHandshake(system: System, means: Means): Promise<HandshakeShow> {
  const { progress, signal } = means;
  const report = await askUntil(system.workerUrl, signal, ({ lastOkAt }) => lastOkAt !== null);
  const roundTripMs = report?.roundTripMs ?? undefined;
  progress.say(
    roundTripMs === undefined
      ? "Handshake: it did not come back"
      : `Handshake: tick → Inngest → function → ledger and back in ${roundTripMs} ms`,
  );
  const named = await showWrongKey(system, means);
  return { roundTripMs, ...(named === undefined ? {} : { named }) };
}

type Report = NonNullable<z.infer<typeof readiness>["handshake"]>;

async function askUntil(
  workerUrl: string,
  signal: AbortSignal,
  isSeen: (report: Report) => boolean,
): Promise<Report | undefined> {
  const deadlineMs = performance.now() + patienceMs;
  while (performance.now() < deadlineMs) {
    const body: unknown = await fetch(`${workerUrl}/readyz`, { signal }).then(
      (response) => response.json(),
      () => undefined,
    );
    const report = readiness.safeParse(body).data?.handshake;
    if (report !== undefined && report !== null && isSeen(report)) return report;
    await sleep(200, undefined, { signal });
  }
  return undefined;
}

/** A worker with a wrong key, beside a server that signs, on a database of their own. */
async function showWrongKey(
  system: System,
  { progress, teardown, signal }: Means,
): Promise<HandshakeShow["named"]> {
  const databaseUrl = await createDatabase(system.databaseUrl, teardown);
  if (databaseUrl === undefined) {
    progress.say("Handshake: no database could be made to show a wrong signing key on");
    return undefined;
  }
  const [enginePort, port] = [await freePort(), await freePort()];
  const workerUrl = `http://127.0.0.1:${port}`;
  const keyOf = (bytes: number): string => `signkey-demo-${randomBytes(bytes).toString("hex")}`;
  const engine = startChild({
    name: "a server that signs",
    command: process.execPath,
    args: [
      join(root, "packages", "engine", "dist", "cli.js"),
      "dev",
      "--url",
      `${workerUrl}/api/inngest`,
      "--host",
      "127.0.0.1",
      "--poll",
      "1",
      "--port",
      String(enginePort),
      "--signing-key",
      keyOf(8),
    ],
    cwd: root,
    environment: {},
  });
  teardown.add("a server that signs", () => engine.stop());
  await waitUntilUp(engine, `http://127.0.0.1:${enginePort}/dev`, signal);
  const worker = startChild({
    name: "a worker with a wrong key",
    command: process.execPath,
    args: [join(root, "apps", "worker", "dist", "main.js")],
    cwd: join(root, "apps", "worker"),
    environment: {
      DATABASE_URL: databaseUrl,
      INNGEST_BASE_URL: `http://127.0.0.1:${enginePort}`,
      INNGEST_EVENT_KEY: "demo",
      INNGEST_SIGNING_KEY: keyOf(8),
      HOST: "127.0.0.1",
      PORT: String(port),
      WORKER_WATCH_SCHEDULES: "false",
    },
  });
  teardown.add("a worker with a wrong key", () => worker.stop());
  await waitUntilUp(worker, `${workerUrl}/readyz`, signal);
  const startedMs = performance.now();
  const report = await askUntil(workerUrl, signal, ({ suspects }) => suspects.length > 0);
  const afterMs = Math.round(performance.now() - startedMs);
  const [first] = report?.suspects ?? [];
  await Promise.all([worker.stop(), engine.stop()]);
  if (first === undefined) return { cause: "nothing", afterMs };
  progress.say(
    `Handshake with a wrong signing key: ${first.cause} after ${(afterMs / 1_000).toFixed(1)} s`,
  );
  progress.say(`  ${first.evidence} ${first.remedy}`);
  return { cause: first.cause, afterMs };
}

async function createDatabase(adminUrl: string, teardown: Teardown): Promise<string | undefined> {
  const name = `evenkeel_handshake_${randomBytes(4).toString("hex")}`;
  const run = async (statement: string): Promise<void> => {
    const client = new Client({ connectionString: adminUrl });
    client.on("error", () => {});
    await client.connect();
    try {
      await client.query(statement);
    } finally {
      await client.end();
    }
  };
  try {
    await run(`CREATE DATABASE "${name}"`);
  } catch {
    return undefined;
  }
  teardown.add("the handshake's database", () =>
    run(`DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`),
  );
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  return url.href;
}
