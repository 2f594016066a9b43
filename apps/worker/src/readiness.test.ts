import type { ChildProcess } from "node:child_process";

import { createEngine, type Engine } from "@evenkeel/engine";
import { createInbox } from "@evenkeel/inbox";
import { readCorpus } from "@evenkeel/inbox/corpus";
import { createLedger } from "@evenkeel/ledger";
import {
  createTestDatabase,
  startSilentProxy,
  type TestDatabase,
} from "@evenkeel/test-postgres/testing";
import type { PoolClient } from "pg";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { processEvent } from "./testing/process-event.ts";
import { startWorkerProcess, type WorkerProcess } from "./testing/worker-process.ts";

let database: TestDatabase;
let engine: Engine;
let engineUrl: string;
const processes: ChildProcess[] = [];
const held: PoolClient[] = [];

beforeEach(async () => {
  database = await createTestDatabase();
  engine = createEngine();
  engineUrl = (await engine.listen()).url;
});
afterEach(async () => {
  for (const child of processes.splice(0)) child.kill("SIGKILL");
  for (const client of held.splice(0)) client.release(true);
  await engine.close();
  await database.drop();
});

async function startWorker(environment: Record<string, string> = {}): Promise<WorkerProcess> {
  const worker = await startWorkerProcess({
    DATABASE_URL: database.databaseUrl,
    INNGEST_DEV: engineUrl,
    INBOX_REPLY_DELAY_SECONDS: "0",
    WORKER_DRAIN_SECONDS: "0",
    ...environment,
  });
  processes.push(worker.child);
  return worker;
}

async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  await vi.waitUntil(condition, { timeout: 100_000, interval: 20 });
}

async function readiness(worker: WorkerProcess): Promise<unknown> {
  return fetch(`${worker.url}/readyz`).then(
    (response) => response.json(),
    () => undefined,
  );
}

const isReady = (worker: WorkerProcess) => async (): Promise<boolean> =>
  JSON.stringify(await readiness(worker))?.startsWith(`{"ok":true`) ?? false;

/** Lets a worker begin jobs whose statements wait for a lock of this test, whatever their signals say. */
async function hangJobs(worker: WorkerProcess): Promise<void> {
  const inbox = createInbox({ pool: database.pool });
  await inbox.ingest(await Array.fromAsync(readCorpus({ limit: 40 })));
  const client = await database.pool.connect();
  held.push(client);
  await client.query("BEGIN");
  await client.query("LOCK TABLE inbox.message IN ACCESS EXCLUSIVE MODE");
  await engine.register(`${worker.url}/api/inngest`);
  await engine.send(processEvent);
  const waiting = `SELECT count(*)::int AS count FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'`;
  await until(async () => {
    const { rows } = await client.query<{ count: number }>(waiting);
    return (rows[0]?.count ?? 0) >= 1;
  });
}

test("a worker whose jobs hang in statements ends all the same, by its deadline, and says what hung", async () => {
  const worker = await startWorker();
  await until(isReady(worker));
  await hangJobs(worker);
  worker.child.kill("SIGTERM");
  expect(await worker.ended).toBe(1);
  expect(worker.output()).toMatch(/"worker.stop_timed_out"/u);
});

test("a second signal ends a worker that still stops at once", async () => {
  const worker = await startWorker({ WORKER_DRAIN_SECONDS: "3600" });
  await until(isReady(worker));
  await hangJobs(worker);
  worker.child.kill("SIGTERM");
  await until(() => worker.output().includes("worker.stopping"));
  worker.child.kill("SIGINT");
  expect(await worker.ended).toBe(1);
  expect(worker.output()).toMatch(/"worker.killed"/u);
});

test("readiness names its cause, and is of a schema that the build can use, not of a table", async () => {
  const worker = await startWorker();
  await until(isReady(worker));
  await database.pool.query(
    `INSERT INTO evenkeel.background_schema_mark (migration, min_reader) VALUES ('2999_x', '2999_x')`,
  );
  expect(await readiness(worker)).toEqual({ ok: false, reason: "newer_database" });
  await database.pool.query(
    `DELETE FROM evenkeel.background_schema_mark WHERE migration = '2999_x'`,
  );
  expect(await readiness(worker)).toMatchObject({ ok: true });
  await database.pool.query(
    `DELETE FROM evenkeel._prisma_migrations
     WHERE migration_name = (SELECT max(migration_name) FROM evenkeel._prisma_migrations)`,
  );
  expect(await readiness(worker)).toEqual({ ok: false, reason: "not_migrated" });
});

test("a worker starts beside the migration of a canary, says once what is newer, and refuses one beyond it", async () => {
  const record = `INSERT INTO evenkeel._prisma_migrations (id, checksum, migration_name, finished_at)
    VALUES ('1', '1', '29990101000000_canary', now())`;
  await database.pool.query(
    `${record}; ALTER TABLE evenkeel.background_job ADD COLUMN canary text`,
  );
  const stable = await startWorker();
  await until(isReady(stable));
  expect(stable.output().match(/"ledger.newer_schema"/gu)).toHaveLength(1);
  await database.pool.query(
    `INSERT INTO evenkeel.background_schema_mark (migration, min_reader)
     VALUES ('29990101000000_canary', '29990101000000_canary')`,
  );
  const late = await startWorker();
  expect(await late.ended).toBe(1);
  expect(late.output()).toContain("builds of @evenkeel/ledger that know 29990101000000_canary");
});

test("over a network that is silent, readiness is answered: not ready", async () => {
  await using proxy = await startSilentProxy(database.databaseUrl);
  const worker = await startWorker({ DATABASE_URL: proxy.url });
  await until(isReady(worker));
  proxy.fallSilent();
  expect(await readiness(worker)).toEqual({ ok: false, reason: "unreachable" });
  expect((await fetch(`${worker.url}/healthz`)).status).toBe(200);
  proxy.restore();
  await until(isReady(worker));
});

test("MIGRATE=only migrates and ends, and MIGRATE=off starts on what is there", async () => {
  await using empty = await createTestDatabase({ migrated: false });
  const off = await startWorker({ DATABASE_URL: empty.databaseUrl, MIGRATE: "off" });
  await until(async () => (await readiness(off)) !== undefined);
  expect(await readiness(off)).toEqual({ ok: false, reason: "not_migrated" });
  const schemas = `SELECT to_regnamespace('evenkeel') AS evenkeel, to_regnamespace('inbox') AS inbox`;
  expect((await empty.pool.query(schemas)).rows).toEqual([{ evenkeel: null, inbox: null }]);
  const only = await startWorker({ DATABASE_URL: empty.databaseUrl, MIGRATE: "only" });
  expect(await only.ended).toBe(0);
  await until(isReady(off));
  const wrong = await startWorker({ MIGRATE: "yes" });
  expect(await wrong.ended).toBe(1);
  expect(wrong.output()).toBe("Invalid configuration: MIGRATE must be one of off, start, only.\n");
});

test("workers of two environments on one database: the second refuses to start, and says the way out", async () => {
  const first = await startWorker({ INNGEST_ENV: "production" });
  await until(isReady(first));
  const second = await startWorker({ INNGEST_ENV: "staging" });
  expect(await second.ended).toBe(1);
  expect(second.output()).toContain("change_environment('staging'");
  expect(await readiness(first)).toMatchObject({ ok: true });
});

test("the worker watches every schedule that the web host dispatches", async () => {
  const hours = `now() - interval '3 hours'`;
  await database.pool.query(
    `INSERT INTO evenkeel.background_schedule (id, definition, updated_at)
     VALUES ('followups', '{"id": "followups", "every": 3600, "overlap": "skip"}', ${hours})`,
  );
  const worker = await startWorker();
  const ledger = createLedger({ pool: database.pool });
  const missed = `SELECT count(*)::int AS count FROM evenkeel.background_dispatch_window
    WHERE schedule = 'followups' AND status = 'MISSED'`;
  await until(async () => {
    const { rows } = await database.pool.query<{ count: number }>(missed);
    return (rows[0]?.count ?? 0) >= 2;
  });
  expect(worker.child.exitCode).toBeNull();
  await ledger.close();
});
