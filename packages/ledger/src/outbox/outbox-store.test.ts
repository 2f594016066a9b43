import { randomUUID } from "node:crypto";

import { expect, test } from "vitest";

import { setup, type Setup } from "../testing/setup.ts";
import type { OutboxEvent } from "./outbox-event.ts";

const leaseMs = 30_000;

async function read(t: Setup, fence: string): Promise<OutboxEvent[]> {
  return t.ledger.outbox.read({ fence, leaseMs, limit: 100 });
}

async function expire(t: Setup): Promise<void> {
  await t.database.pool.query(
    `UPDATE evenkeel.background_outbox_relay SET lease_expires_at = now() - interval '1 second'`,
  );
}

test("an event exists if and when its transaction commits", async () => {
  await using t = await setup();
  const client = await t.database.pool.connect();
  try {
    await client.query("BEGIN");
    await t.ledger.outbox.add(client, { name: "order/placed", data: { order: 1 } });
    expect(await t.ledger.outbox.backlog()).toMatchObject({ pending: 0 });
    await client.query("ROLLBACK");
    expect(await t.ledger.outbox.backlog()).toMatchObject({ pending: 0 });
    await client.query("BEGIN");
    await t.ledger.outbox.add(client, { name: "order/placed", data: { order: 2 } });
    await client.query("COMMIT");
  } finally {
    client.release();
  }
  expect(await t.ledger.outbox.backlog()).toMatchObject({ pending: 1, refused: 0 });
  const fence = randomUUID();
  expect(await t.ledger.outbox.lease({ fence, owner: "a", leaseMs })).toEqual({ failureCount: 0 });
  expect((await read(t, fence)).map(({ data }) => data)).toEqual([{ order: 2 }]);
});

test("an id is added once: in one call, and across calls", async () => {
  await using t = await setup();
  const event = { id: "placed-1", name: "order/placed", data: {} };
  const twice = await t.ledger.outbox.add(t.database.pool, [
    event,
    event,
    { ...event, id: "placed-2" },
  ]);
  expect(twice).toEqual([
    { id: "placed-1", created: true },
    { id: "placed-1", created: false },
    { id: "placed-2", created: true },
  ]);
  expect(await t.ledger.outbox.add(t.database.pool, event)).toEqual([
    { id: "placed-1", created: false },
  ]);
  expect(await t.ledger.outbox.backlog()).toMatchObject({ pending: 2 });
  expect(await t.ledger.outbox.add(t.database.pool, [])).toEqual([]);
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
  await using t = await setup();
  const good = { name: "good", data: {} };
  await expect(t.ledger.outbox.add(t.database.pool, [good, event])).rejects.toMatchObject({
    name: "InputError",
  });
  expect(await t.ledger.outbox.backlog()).toMatchObject({ pending: 0 });
});

test("one host relays at a time, and an expired lease is another's", async () => {
  await using t = await setup();
  await t.ledger.outbox.add(t.database.pool, { name: "a", data: {} });
  const [first, second] = [randomUUID(), randomUUID()];
  const both = await Promise.all(
    [first, second].map((fence) => t.ledger.outbox.lease({ fence, owner: "host", leaseMs })),
  );
  expect(both.filter((lease) => lease !== undefined)).toHaveLength(1);
  const [winner, other] = both[0] === undefined ? [second, first] : [first, second];
  expect(await read(t, other)).toEqual([]);
  await expire(t);
  expect(await t.ledger.outbox.lease({ fence: other, owner: "host", leaseMs })).toBeDefined();
  expect(await read(t, winner)).toEqual([]);
  expect(await read(t, other)).toHaveLength(1);
  // The first one's word that the event was sent is still true; its wish to keep others away is not heard.
  const [event] = await read(t, other);
  await t.ledger.outbox.settle({
    fence: winner,
    sent: [event?.place ?? ""],
    failure: { error: "late", delayMs: 60_000 },
  });
  expect(await t.ledger.outbox.backlog()).toMatchObject({ pending: 0 });
  await t.ledger.outbox.add(t.database.pool, { name: "b", data: {} });
  expect(await read(t, other)).toHaveLength(1);
});

test("after a failed send no host tries until the time has come", async () => {
  await using t = await setup();
  await t.ledger.outbox.add(t.database.pool, { name: "a", data: {} });
  const fence = randomUUID();
  await t.ledger.outbox.lease({ fence, owner: "a", leaseMs });
  await t.ledger.outbox.settle({
    fence,
    sent: [],
    failure: { error: "connect postgres://user:secret@host", delayMs: 60_000 },
  });
  const another = { fence: randomUUID(), owner: "b", leaseMs };
  expect(await t.ledger.outbox.lease(another)).toBeUndefined();
  await t.database.pool.query(
    `UPDATE evenkeel.background_outbox_relay SET not_before = now() - interval '1 second'`,
  );
  expect(await t.ledger.outbox.lease(another)).toEqual({ failureCount: 1 });
  const { rows } = await t.database.pool.query<{ last_error: string }>(
    `SELECT last_error FROM evenkeel.background_outbox_relay`,
  );
  expect(rows[0]?.last_error).not.toContain("secret");
});

test("a refused event is out of the way, with a dead letter", async () => {
  await using t = await setup();
  await t.ledger.outbox.add(t.database.pool, [
    { id: "bad", name: "a", data: { n: 1 }, tenantId: "acme" },
    { id: "good", name: "a", data: { n: 2 } },
  ]);
  const fence = randomUUID();
  await t.ledger.outbox.lease({ fence, owner: "a", leaseMs });
  const [bad] = await read(t, fence);
  await t.ledger.outbox.settle({
    fence,
    sent: [],
    refused: [{ place: bad?.place ?? "", error: "400 malformed" }],
  });
  expect((await read(t, fence)).map(({ id }) => id)).toEqual(["good"]);
  const { rows } = await t.database.pool.query(
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
  await using t = await setup();
  const lease = await t.ledger.outbox.lease({ fence: randomUUID(), owner: "a", leaseMs });
  expect(lease).toBeUndefined();
  const { rows } = await t.database.pool.query(`SELECT FROM evenkeel.background_outbox_relay`);
  expect(rows).toEqual([]);
});
