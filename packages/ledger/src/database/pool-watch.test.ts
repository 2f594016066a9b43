import { silentLogger, type LogFields, type Logger } from "@evenkeel/core";
import {
  createTestDatabase,
  startSilentProxy,
  type SilentProxy,
  type TestDatabase,
} from "@evenkeel/test-postgres/testing";
import type { Pool } from "pg";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createLedger } from "../ledger.ts";

let database: TestDatabase;
let proxy: SilentProxy;
/** A host's pool as `pg` makes it, without a listener. */
let pool: Pool;
beforeEach(async () => {
  database = await createTestDatabase();
  proxy = await startSilentProxy(database.databaseUrl);
  pool = proxy.connect();
});
afterEach(async () => {
  await proxy.close();
  await database.drop();
});

/** A logger, and what it is told first. */
function createEar(): { readonly logger: Logger; readonly heard: Promise<readonly unknown[]> } {
  const heard = Promise.withResolvers<readonly unknown[]>();
  const warn = (event: string, fields?: LogFields): void => heard.resolve([event, fields]);
  return { logger: { ...silentLogger, warn }, heard: heard.promise };
}

function countListeners(): Record<string, number> {
  return Object.fromEntries(
    ["error", "connect", "remove"].map((event) => [event, pool.listenerCount(event)]),
  );
}

test("a connection of the host's pool that is cut while it rests is logged, and the next call has another", async () => {
  const { logger, heard } = createEar();
  const ledger = createLedger({ pool, logger });
  await ledger.jobs.counts();
  proxy.cut();
  expect(await heard).toEqual([
    "ledger.connection_lost",
    { error: expect.stringMatching(/terminat/u) },
  ]);
  await ledger.jobs.counts();
  await ledger.close();
});

test("a connection that is cut while it is held ends no process, with or without a logger", async () => {
  const ledger = createLedger({ pool });
  const client = await pool.connect();
  const ended = new Promise((resolve) => {
    client.once("end", resolve);
  });
  proxy.cut();
  await ended;
  client.release(true);
  await expect(ledger.jobs.counts()).resolves.toMatchObject({ running: 0 });
  await ledger.close();
});

test("close leaves the host's pool as it was, when the last of its ledgers closes", async () => {
  const before = countListeners();
  const client = await pool.connect();
  const ofClient = client.listenerCount("error");
  client.release();
  const [one, other] = [createLedger({ pool }), createLedger({ pool })];
  await Promise.all([one.jobs.counts(), one.jobs.counts(), other.jobs.counts()]);
  await one.close();
  await one.close();
  expect(countListeners()).not.toEqual(before);
  await other.close();
  expect(countListeners()).toEqual(before);
  const clients = await Promise.all(Array.from({ length: 3 }, async () => pool.connect()));
  expect(clients.map((each) => each.listenerCount("error"))).toEqual(clients.map(() => ofClient));
  for (const each of clients) each.release();
  // It still works.
  expect((await pool.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
});
