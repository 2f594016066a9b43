import { randomUUID } from "node:crypto";

import { silentLogger } from "@evenkeel/core";
import type { Environment } from "@evenkeel/dispatch";
import { createEngine, type Engine } from "@evenkeel/engine";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { serve } from "inngest/edge";
import { Pool } from "pg";
import { afterEach, beforeEach, expect, inject, test } from "vitest";

import { createBackground, type Background } from "./background.ts";

type Host = Background<[Request], Promise<Response>>;

let database: TestDatabase;
let engine: Engine;
let logged: unknown[];
const hosts: Host[] = [];
beforeEach(async () => {
  database = await createTestDatabase({ migrated: false });
  engine = createEngine({ handler: () => Response.error() });
  logged = [];
});
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.close();
  await engine.close();
  await database.drop();
});

function open(databaseUrl: string, change: Environment = {}, migratesAtUse = false): Host {
  const host = createBackground({
    appId: "shop",
    migratesAtUse,
    environment: {
      CRON_SECRET: "0123456789abcdef",
      INNGEST_DEV: "1",
      INNGEST_BASE_URL: engine.url,
      DATABASE_URL: databaseUrl,
      ...change,
    },
    pool: () => new Pool({ connectionString: databaseUrl, max: 2 }),
    handlers: [],
    serve,
    fetch: engine.fetch,
    logger: {
      ...silentLogger,
      warn: (event, fields) => {
        if (event === "background.not_migrated") logged.push(fields);
      },
    },
  });
  hosts.push(host);
  return host;
}

async function tick(host: Host): Promise<{ status: number; mode: unknown }> {
  const response = await host.cron(
    new Request("http://localhost/api/cron/background-jobs", {
      headers: { authorization: "Bearer 0123456789abcdef" },
    }),
  );
  const body: unknown = await response.json();
  const mode: unknown = typeof body === "object" && body !== null && Reflect.get(body, "mode");
  return { status: response.status, mode };
}

function introspection(): Request {
  return new Request("http://localhost/api/inngest", { headers: { host: "localhost" } });
}

const tables = async (): Promise<unknown> =>
  (await database.pool.query(`SELECT to_regnamespace('evenkeel') AS evenkeel`)).rows[0];

test("a tick that comes while the host migrates at start waits for it, and dispatches", async () => {
  const host = open(database.databaseUrl);
  host.migrateAtStart();
  expect(await tick(host)).toEqual({ status: 202, mode: "dispatch-only" });
  expect(logged).toEqual([]);
});

test("a host that could not migrate at start serves, refuses ticks, and migrates at the first tick that can", async () => {
  const url = new URL(inject("postgres").url);
  const name = `later_${randomUUID().replaceAll("-", "")}`;
  url.pathname = `/${name}`;
  const host = open(url.href);
  host.migrateAtStart();
  expect(await tick(host)).toEqual({ status: 503, mode: "ledger-not-ready" });
  expect((await host.inngest(introspection())).status).toBe(200);
  expect(logged).toContainEqual({ error: `database "${name}" does not exist` });
  await database.pool.query(`CREATE DATABASE ${name}`);
  expect(await tick(host)).toEqual({ status: 202, mode: "dispatch-only" });
  await hosts.pop()?.close();
  await database.pool.query(`DROP DATABASE ${name} WITH (FORCE)`);
});

test("a host without a start migrates at its first tick, unless it is not to", async () => {
  expect(await tick(open(database.databaseUrl))).toMatchObject({ mode: "ledger-not-ready" });
  const off = open(database.databaseUrl, { MIGRATE: "off" }, true);
  expect(await tick(off)).toMatchObject({ mode: "ledger-not-ready" });
  const host = open(database.databaseUrl, {}, true);
  expect(await tick(host)).toEqual({ status: 202, mode: "dispatch-only" });
  expect(logged).toEqual([]);
});

test("a call of Inngest tries again as well", async () => {
  await database.pool.query(`CREATE SCHEMA evenkeel; CREATE TABLE evenkeel.background_job ()`);
  const host = open(database.databaseUrl);
  host.migrateAtStart();
  await expect
    .poll(() => logged, { timeout: 60_000 })
    .toMatchObject([{ code: "migration_failed" }]);
  await database.pool.query(`DROP TABLE evenkeel.background_job`);
  await host.inngest(introspection());
  await expect
    .poll(
      () =>
        host
          .parts()
          .ledger.ping()
          .then(
            () => "ready",
            () => "not",
          ),
      { timeout: 60_000 },
    )
    .toBe("ready");
});

test("beside a schema that is beyond it, a host serves and says which build it takes", async () => {
  const newer = open(database.databaseUrl);
  await newer.migrate();
  await database.pool.query(
    `INSERT INTO evenkeel.background_schema_mark (migration, min_reader) VALUES ('2999_x', '2999_x')`,
  );
  const host = open(database.databaseUrl);
  host.migrateAtStart();
  expect(await tick(host)).toEqual({ status: 503, mode: "ledger-not-ready" });
  expect(logged).toContainEqual({
    code: "newer_database",
    error: expect.stringContaining("builds of @evenkeel/ledger that know 2999_x"),
  });
});

test("a database that is away holds neither the start nor, for long, a tick", async () => {
  const host = open("postgresql://u:hunter2@127.0.0.1:1/none");
  host.migrateAtStart();
  expect(await tick(host)).toEqual({ status: 202, mode: "dispatch-only" });
  expect(logged).toContainEqual(expect.objectContaining({ code: "unreachable" }));
});

test("MIGRATE=off leaves the database as it is", async () => {
  const host = open(database.databaseUrl, { MIGRATE: " OFF\n" });
  host.migrateAtStart();
  expect(await tick(host)).toEqual({ status: 503, mode: "ledger-not-ready" });
  expect(await tables()).toEqual({ evenkeel: null });
  expect(() => open(database.databaseUrl, { MIGRATE: "never" }).parts()).toThrow(
    "MIGRATE must be one of off, start, only",
  );
});
