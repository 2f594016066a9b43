import type { ChildProcess } from "node:child_process";

import { createEngine, type Engine } from "@evenkeel/engine";
import { createInbox } from "@evenkeel/inbox";
import { readCorpus } from "@evenkeel/inbox/corpus";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { processEvent } from "./testing/process-event.ts";
import { startWorkerProcess, type WorkerProcess } from "./testing/worker-process.ts";

let database: TestDatabase;
let ledger: Ledger;
let engine: Engine;
let engineUrl: string;
const processes: ChildProcess[] = [];

beforeEach(async () => {
  database = await createTestDatabase();
  ledger = createLedger({ pool: database.pool });
  engine = createEngine();
  engineUrl = (await engine.listen()).url;
});
afterEach(async () => {
  for (const child of processes.splice(0)) child.kill("SIGKILL");
  await engine.close();
  await ledger.close();
  await database.drop();
});

async function startWorker(environment: Record<string, string> = {}): Promise<WorkerProcess> {
  const worker = await startWorkerProcess({
    DATABASE_URL: database.databaseUrl,
    INNGEST_DEV: engineUrl,
    ...environment,
  });
  processes.push(worker.child);
  return worker;
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  await vi.waitUntil(condition, { timeout: 100_000, interval: 20 });
}

async function isOk(url: string): Promise<boolean> {
  return fetch(url).then(
    ({ status }) => status === 200,
    () => false,
  );
}

async function isWorking(): Promise<boolean> {
  const { running, succeeded } = await ledger.jobs.counts();
  return running > 0 && succeeded > 0;
}

test("a worker at work takes no more on SIGTERM, leaves no job behind as running, and exits 0", async () => {
  const worker = await startWorker({ INBOX_REPLY_DELAY_SECONDS: "0" });
  await until(() => isOk(`${worker.url}/readyz`));
  const inbox = createInbox({ pool: database.pool });
  await inbox.ingest(await Array.fromAsync(readCorpus({ limit: 600 })));
  await engine.register(`${worker.url}/api/inngest`);
  await engine.send(processEvent);
  await until(isWorking);
  worker.child.kill("SIGTERM");
  expect(await worker.ended).toBe(0);
  const counts = await ledger.jobs.counts();
  expect(counts.running).toBe(0);
  expect(counts.due + counts.scheduled).toBeGreaterThan(0);
  expect(await inbox.report()).toMatchObject({ doubleSent: 0, inconsistent: 0 });
});

test("what a killed worker leaves, another finishes after the lease", async () => {
  const inbox = createInbox({ pool: database.pool });
  const first = await startWorker({ INBOX_REPLY_DELAY_SECONDS: "0" });
  await until(() => isOk(`${first.url}/readyz`));
  await inbox.ingest(await Array.fromAsync(readCorpus({ limit: 400 })));
  await engine.register(`${first.url}/api/inngest`);
  await engine.send(processEvent);
  await until(isWorking);
  first.child.kill("SIGKILL");
  await first.ended;
  await database.pool.query(
    `UPDATE "evenkeel"."background_job" SET "lease_expires_at" = now() WHERE "state" = 'RUNNING'`,
  );
  const second = await startWorker({ INBOX_REPLY_DELAY_SECONDS: "0" });
  await until(() => isOk(`${second.url}/readyz`));
  await engine.register(`${second.url}/api/inngest`);
  const dispatchKey = "background-jobs|v1|global|60|2026-01-01T00:01:00.000Z";
  await engine.send({ ...processEvent, id: "e-2", data: { ...processEvent.data, dispatchKey } });
  await until(async () => {
    const { due, scheduled, running } = await ledger.jobs.counts();
    return due + scheduled + running === 0;
  });
  const report = await inbox.report();
  expect(report).toMatchObject({ messages: 400, unprocessed: 0, doubleSent: 0, inconsistent: 0 });
  expect(report.sent + report.ignored).toBe(400);
});

test("a worker whose connections are cut in mid-work lives on and finishes", async () => {
  const inbox = createInbox({ pool: database.pool });
  const worker = await startWorker({ INBOX_REPLY_DELAY_SECONDS: "0" });
  await until(() => isOk(`${worker.url}/readyz`));
  await inbox.ingest(await Array.fromAsync(readCorpus({ limit: 400 })));
  await engine.register(`${worker.url}/api/inngest`);
  await engine.send(processEvent);
  await until(isWorking);
  for (let cut = 0; cut < 60; cut += 1) {
    await database.pool.query(
      `SELECT pg_terminate_backend("pid") FROM "pg_stat_activity"
       WHERE "datname" = current_database() AND "pid" <> pg_backend_pid()`,
    );
    // Some cuts meet a statement, some a connection between two holders.
    await fetch(`${worker.url}/healthz`);
  }
  await until(() => isOk(`${worker.url}/readyz`));
  expect(worker.child.exitCode).toBeNull();
  await database.pool.query(
    `UPDATE "evenkeel"."background_job" SET "lease_expires_at" = now() WHERE "state" = 'RUNNING'`,
  );
  const dispatchKey = "background-jobs|v1|global|60|2026-01-01T00:01:00.000Z";
  await engine.send({ ...processEvent, id: "e-2", data: { ...processEvent.data, dispatchKey } });
  await until(async () => {
    const { due, scheduled, running } = await ledger.jobs.counts();
    return due + scheduled + running === 0;
  });
  expect(await inbox.report()).toMatchObject({ messages: 400, doubleSent: 0, inconsistent: 0 });
}, 240_000);

test("without a database it ends with one line that says what was tried and what to set", async () => {
  const worker = await startWorker({ DATABASE_URL: "postgresql://u:hunter2@127.0.0.1:1/none" });
  expect(await worker.ended).toBe(1);
  const lines = worker.output().trimEnd().split("\n");
  expect(lines.at(-1)).toBe(
    "No Postgres answers at 127.0.0.1:1/none. Start it, or set DATABASE_URL.",
  );
  // Before it, the configuration's own line.
  expect(lines.slice(0, -1)).toEqual([expect.stringContaining("background.configured")]);
});

test("wrong variables are reported all at once, by name", async () => {
  const worker = await startWorker({
    DATABASE_URL: "",
    PORT: "http",
    BACKGROUND_JOBS_INNGEST_CONCURRENCY: "0",
    INBOX_SIMULATED_FAULTS: "some",
  });
  expect(await worker.ended).toBe(1);
  expect(worker.output()).toBe(
    "Invalid configuration: PORT must be a whole number from 0 to 65535; " +
      "INBOX_SIMULATED_FAULTS must be true or false; DATABASE_URL is not set; " +
      "BACKGROUND_JOBS_INNGEST_CONCURRENCY must be a whole number from 1 to 64.\n",
  );
});

test("a worker without its database is alive and not ready", async () => {
  const worker = await startWorker();
  await until(() => isOk(`${worker.url}/readyz`));
  await database.pool.query(`DROP SCHEMA "evenkeel" CASCADE`);
  expect((await fetch(`${worker.url}/readyz`)).status).toBe(503);
  expect((await fetch(`${worker.url}/healthz`)).status).toBe(200);
  expect((await fetch(`${worker.url}/elsewhere`)).status).toBe(404);
  // A target that no URL parser takes as relative ends neither the request nor the process.
  expect((await fetch(`${worker.url}//`)).status).toBe(404);
  expect((await fetch(`${worker.url}/healthz?//`)).status).toBe(200);
});
