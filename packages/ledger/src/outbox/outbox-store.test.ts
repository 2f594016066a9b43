import { randomUUID } from "node:crypto";

import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createLedger, type Ledger } from "../ledger.ts";
import type { OutboxEvent } from "./outbox-event.ts";

let database: TestDatabase;
let ledger: Ledger;
beforeEach(async () => {
  database = await createTestDatabase();
  ledger = createLedger({ pool: database.pool });
});
afterEach(async () => {
  await ledger.close();
  await database.drop();
});

const leaseMs = 30_000;

async function read(fence: string): Promise<OutboxEvent[]> {
  return ledger.outbox.read({ fence, leaseMs, limit: 100 });
}

async function expire(): Promise<void> {
  await database.pool.query(
    `UPDATE evenkeel.background_outbox_relay SET lease_expires_at = now() - interval '1 second'`,
  );
}

test("an event exists if and when its transaction commits", async () => {
  const client = await database.pool.connect();
  try {
    await client.query("BEGIN");
    await ledger.outbox.add(client, { name: "order/placed", data: { order: 1 } });
    expect(await ledger.outbox.backlog()).toMatchObject({ pending: 0 });
    await client.query("ROLLBACK");
    expect(await ledger.outbox.backlog()).toMatchObject({ pending: 0 });
    await client.query("BEGIN");
    await ledger.outbox.add(client, { name: "order/placed", data: { order: 2 } });
    await client.query("COMMIT");
  } finally {
    client.release();
  }
  expect(await ledger.outbox.backlog()).toMatchObject({ pending: 1, refused: 0 });
  const fence = randomUUID();
  expect(await ledger.outbox.lease({ fence, owner: "a", leaseMs })).toEqual({ failureCount: 0 });
  expect((await read(fence)).map(({ data }) => data)).toEqual([{ order: 2 }]);
});

test("an id is added once: in one call, and across calls", async () => {
  const event = { id: "placed-1", name: "order/placed", data: {} };
  const twice = await ledger.outbox.add(database.pool, [
    event,
    event,
    { ...event, id: "placed-2" },
  ]);
  expect(twice).toEqual([
    { id: "placed-1", created: true },
    { id: "placed-1", created: false },
    { id: "placed-2", created: true },
  ]);
  expect(await ledger.outbox.add(database.pool, event)).toEqual([
    { id: "placed-1", created: false },
  ]);
  expect(await ledger.outbox.backlog()).toMatchObject({ pending: 2 });
  expect(await ledger.outbox.add(database.pool, [])).toEqual([]);
});

test.each([
  ["no name", { name: "", data: {} }],
  ["a long id", { name: "a", data: {}, id: "x".repeat(201) }],
  ["a NUL", { name: "a", data: { text: "a\u0000b" } }],
  ["half a surrogate pair", { name: "a", data: { text: "\uD800" } }],
  ["a tenant without a name", { name: "a", data: {}, tenantId: "" }],
  ["no date", { name: "a", data: {}, occurredAt: new Date("never") }],
  ["too much data", { name: "a", data: { text: "x".repeat(600_000) } }],
])("%s is refused before anything is written", async (_, event) => {
  const good = { name: "good", data: {} };
  await expect(ledger.outbox.add(database.pool, [good, event])).rejects.toMatchObject({
    name: "InputError",
  });
  expect(await ledger.outbox.backlog()).toMatchObject({ pending: 0 });
});

test("one host relays at a time, and an expired lease is another's", async () => {
  await ledger.outbox.add(database.pool, { name: "a", data: {} });
  const [first, second] = [randomUUID(), randomUUID()];
  const both = await Promise.all(
    [first, second].map((fence) => ledger.outbox.lease({ fence, owner: "host", leaseMs })),
  );
  expect(both.filter((lease) => lease !== undefined)).toHaveLength(1);
  const [winner, other] = both[0] === undefined ? [second, first] : [first, second];
  expect(await read(other)).toEqual([]);
  await expire();
  expect(await ledger.outbox.lease({ fence: other, owner: "host", leaseMs })).toBeDefined();
  expect(await read(winner)).toEqual([]);
  expect(await read(other)).toHaveLength(1);
  // The first one's word that the event was sent is still true; its wish to keep others away is not heard.
  const [event] = await read(other);
  await ledger.outbox.settle({
    fence: winner,
    sent: [event?.place ?? ""],
    failure: { error: "late", delayMs: 60_000 },
  });
  expect(await ledger.outbox.backlog()).toMatchObject({ pending: 0 });
  await ledger.outbox.add(database.pool, { name: "b", data: {} });
  expect(await read(other)).toHaveLength(1);
});

test("after a failed send no host tries until the time has come", async () => {
  await ledger.outbox.add(database.pool, { name: "a", data: {} });
  const fence = randomUUID();
  await ledger.outbox.lease({ fence, owner: "a", leaseMs });
  await ledger.outbox.settle({
    fence,
    sent: [],
    failure: { error: "connect postgres://user:secret@host", delayMs: 60_000 },
  });
  const another = { fence: randomUUID(), owner: "b", leaseMs };
  expect(await ledger.outbox.lease(another)).toBeUndefined();
  await database.pool.query(
    `UPDATE evenkeel.background_outbox_relay SET not_before = now() - interval '1 second'`,
  );
  expect(await ledger.outbox.lease(another)).toEqual({ failureCount: 1 });
  const { rows } = await database.pool.query<{ last_error: string }>(
    `SELECT last_error FROM evenkeel.background_outbox_relay`,
  );
  expect(rows[0]?.last_error).not.toContain("secret");
});

test("a refused event is out of the way, with a dead letter", async () => {
  await ledger.outbox.add(database.pool, [
    { id: "bad", name: "a", data: { n: 1 }, tenantId: "acme" },
    { id: "good", name: "a", data: { n: 2 } },
  ]);
  const fence = randomUUID();
  await ledger.outbox.lease({ fence, owner: "a", leaseMs });
  const [bad] = await read(fence);
  await ledger.outbox.settle({
    fence,
    sent: [],
    refused: [{ place: bad?.place ?? "", error: "400 malformed" }],
  });
  expect((await read(fence)).map(({ id }) => id)).toEqual(["good"]);
  const { rows } = await database.pool.query(
    `SELECT kind::text, source_id, tenant_id, reason, error, payload
     FROM evenkeel.background_dead_letter`,
  );
  expect(rows).toEqual([
    {
      kind: "EVENT",
      source_id: "bad",
      tenant_id: "acme",
      reason: "terminal",
      error: "400 malformed",
      payload: { n: 1 },
    },
  ]);
});

test("an idle outbox writes nothing", async () => {
  const lease = await ledger.outbox.lease({ fence: randomUUID(), owner: "a", leaseMs });
  expect(lease).toBeUndefined();
  const { rows } = await database.pool.query(`SELECT FROM evenkeel.background_outbox_relay`);
  expect(rows).toEqual([]);
});
