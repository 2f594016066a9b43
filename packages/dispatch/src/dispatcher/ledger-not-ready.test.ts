import { randomUUID } from "node:crypto";

import { silentLogger, type LogFields } from "@evenkeel/core";
import { createLedger, type Ledger, type LedgerOptions } from "@evenkeel/ledger";
import {
  createTestDatabase,
  startSilentProxy,
  type TestDatabase,
} from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, inject, test } from "vitest";

import { createCronHandler } from "../http/cron-handler.ts";
import { createDispatcher, type Dispatcher, type DispatcherOptions } from "./dispatcher.ts";
import type { OutgoingEvent } from "./prepared-dispatch.ts";

let database: TestDatabase;
const ledgers: Ledger[] = [];
let sent: OutgoingEvent[];
let logged: [event: string, fields: LogFields | undefined][];
beforeEach(async () => {
  database = await createTestDatabase();
  sent = [];
  logged = [];
});
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close();
  await database.drop();
});

function open(at: TestDatabase["pool"] | string = database.pool, environment = "test"): Ledger {
  const source = typeof at === "string" ? { databaseUrl: at } : { pool: at };
  const options: LedgerOptions = { ...source, environment, connectionTimeoutMs: 2_000 };
  const ledger = createLedger(options);
  ledgers.push(ledger);
  return ledger;
}

function host(ledger: Ledger, change: Partial<DispatcherOptions> = {}): Dispatcher {
  return createDispatcher({
    ledger,
    send: async (events) => {
      sent.push(...events);
    },
    config: { useInngest: { enabled: true, because: "test" }, windowSeconds: 60 },
    environment: "test",
    owner: "host-1",
    logger: { ...silentLogger, warn: (event, fields) => void logged.push([event, fields]) },
    ...change,
  });
}

const at = new Date("2026-01-01T00:00:30Z");
const tick = (): { schedule: string; scheduledAt: Date; source: string } => ({
  schedule: `schedule-${randomUUID()}`,
  scheduledAt: at,
  source: "cron",
});

const refused = (reason: string | RegExp): object => ({
  mode: "ledger-not-ready",
  tracking: false,
  eventIds: [],
  reason: expect.stringMatching(reason),
});

test("without tables a tick is refused with its cause and sends nothing, and the next one after the migration dispatches", async () => {
  await using empty = await createTestDatabase({ migrated: false });
  const ledger = createLedger({ pool: empty.pool, environment: "test" });
  const dispatcher = host(ledger);
  const asked = tick();
  const receipt = await dispatcher.dispatch(asked);
  expect(receipt).toMatchObject(refused(/tables .* are missing .* Call migrate\(\)/u));
  expect(sent).toEqual([]);
  expect(logged).toEqual([
    ["dispatch.ledger-not-ready", expect.objectContaining({ reason: receipt.reason })],
  ]);
  await ledger.migrate();
  expect(await dispatcher.dispatch(asked)).toMatchObject({ mode: "dispatch-only", tracking: true });
  expect(sent).toHaveLength(2);
  await ledger.close();
});

test("over HTTP it is 503 with the receipt, and asks to be tried again", async () => {
  await database.pool.query(`DROP SCHEMA evenkeel CASCADE`);
  const cronSecrets = ["0123456789abcdef"];
  const handler = createCronHandler({ dispatcher: host(open()), cronSecrets });
  const response = await handler(
    new Request("http://localhost/api/cron/background-jobs", {
      headers: { authorization: "Bearer 0123456789abcdef" },
    }),
  );
  expect([response.status, response.headers.get("retry-after")]).toEqual([503, "5"]);
  expect(await response.json()).toMatchObject({ mode: "ledger-not-ready", tracking: false });
});

test("an older schema that claims without an error is noticed all the same", async () => {
  const { rows } = await database.pool.query<{ name: string }>(
    `DELETE FROM evenkeel._prisma_migrations
     WHERE migration_name = (SELECT max(migration_name) FROM evenkeel._prisma_migrations)
     RETURNING migration_name AS name`,
  );
  const receipt = await host(open()).dispatch(tick());
  expect(receipt).toMatchObject(refused(`Not applied: ${rows[0]?.name ?? ""}`));
  expect(sent).toEqual([]);
});

test.each([
  ["the table of windows", `DROP TABLE evenkeel.background_dispatch_window CASCADE`, /missing/u],
  [
    "a column",
    `ALTER TABLE evenkeel.background_dispatch_window DROP COLUMN params`,
    /older version/u,
  ],
  ["a type", `ALTER TYPE evenkeel.window_status RENAME TO status_of_window`, /missing/u],
  ["the schema", `ALTER SCHEMA evenkeel RENAME TO elsewhere`, /missing/u],
])(
  "a process that had dispatched notices by the claim itself that %s is gone",
  async (_, sql, reason) => {
    const dispatcher = host(open(database.connect(2)));
    expect(await dispatcher.dispatch(tick())).toMatchObject({ mode: "dispatch-only" });
    sent = [];
    await database.pool.query(sql);
    expect(await dispatcher.dispatch(tick())).toMatchObject(refused(reason));
    expect(await dispatcher.nudge(tick())).toMatchObject(refused(reason));
    expect(sent).toEqual([]);
  },
);

test("rights that were taken away, or never given, refuse the tick and name the grant", async () => {
  const user = `app_${randomUUID().replaceAll("-", "")}`;
  await database.pool.query(`CREATE ROLE ${user} LOGIN PASSWORD 'hunter2'`);
  const url = new URL(inject("postgres").url);
  url.pathname = new URL(database.databaseUrl).pathname;
  url.username = user;
  url.password = "hunter2";
  const dispatcher = host(open(url.href));
  expect(await dispatcher.dispatch(tick())).toMatchObject(refused(/evenkeel[.]grant_to/u));
  await database.pool.query(`SELECT evenkeel.grant_to($1)`, [user]);
  expect(await dispatcher.dispatch(tick())).toMatchObject({ mode: "dispatch-only" });
  await database.pool.query(`REVOKE UPDATE ON evenkeel.background_dispatch_window FROM ${user}`);
  sent = [];
  expect(await dispatcher.dispatch(tick())).toMatchObject(refused(/evenkeel[.]grant_to/u));
  expect(sent).toEqual([]);
  await ledgers.pop()?.close();
  await database.pool.query(`DROP OWNED BY ${user} CASCADE; DROP ROLE ${user}`);
});

test("a database that does not exist is not there, and not away", async () => {
  const url = new URL(database.databaseUrl);
  url.pathname = "/nowhere";
  expect(await host(open(url.href)).dispatch(tick())).toMatchObject(refused(/does not exist/u));
  expect(sent).toEqual([]);
});

test("staging on production's ledger suppresses none of production's windows", async () => {
  const asked = tick();
  await open(database.connect(2), "production").migrate();
  const staging = host(open(database.connect(2), "staging"), { environment: "staging" });
  expect(await staging.dispatch(asked)).toMatchObject(
    refused(/belongs to the environment "production", and this host is of "staging"/u),
  );
  expect(sent).toEqual([]);
  const production = host(open(database.connect(2), "production"), { environment: "production" });
  expect(await production.dispatch(asked)).toMatchObject({ mode: "dispatch-only", tracking: true });
});

test("two databases are two ledgers: each environment has its own", async () => {
  await using other = await createTestDatabase();
  const ofStaging = createLedger({ pool: other.pool, environment: "staging" });
  const [production, staging] = [host(open(database.pool, "production")), host(ofStaging)];
  const asked = tick();
  for (const each of [production, staging]) {
    expect(await each.dispatch(asked)).toMatchObject({ mode: "dispatch-only", tracking: true });
  }
  await ofStaging.close();
});

test("a ledger that is away sends all the same, whether it refuses, is silent, or is cut off while it was good", async () => {
  const unavailable = { mode: "dispatch-only", tracking: false };
  const closed = open("postgresql://u:hunter2@127.0.0.1:1/none");
  expect(await host(closed).dispatch(tick())).toMatchObject(unavailable);
  await using proxy = await startSilentProxy(database.databaseUrl);
  const good = host(open(proxy.connect(2)), { ledgerTimeoutMs: 1_000 });
  expect(await good.dispatch(tick())).toMatchObject({ ...unavailable, tracking: true });
  const silent = host(open(proxy.connect(2)), { ledgerTimeoutMs: 1_000 });
  proxy.fallSilent();
  expect(await good.dispatch(tick())).toMatchObject(unavailable);
  expect(await silent.dispatch(tick())).toMatchObject(unavailable);
  expect(sent).toHaveLength(8);
});

test("a tick takes two statements, the claim and its record, however often the ledger was found ready", async () => {
  const pool = database.connect(1);
  const dispatcher = host(open(pool));
  await dispatcher.dispatch(tick());
  let statements = 0;
  pool.on("acquire", () => {
    statements += 1;
  });
  for (let count = 0; count < 3; count += 1) await dispatcher.dispatch(tick());
  expect(statements).toBe(6);
});
