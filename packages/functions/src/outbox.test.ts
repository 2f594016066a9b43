import { createOutboxRelay } from "@evenkeel/dispatch";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createOutboxSender } from "./event-sender.ts";
import { createBackgroundApp, type BackgroundApp } from "./testing/background-app.ts";

let app: BackgroundApp;
beforeEach(async () => {
  app = await createBackgroundApp();
});
afterEach(() => app.close());

function relay(): ReturnType<typeof createOutboxRelay> {
  const { ledger, client } = app;
  return createOutboxRelay({ ledger, send: createOutboxSender(client), owner: "host" });
}

test("a product's event goes from its transaction through the SDK to the server", async () => {
  const occurredAt = new Date("2026-01-02T03:04:05.678Z");
  await app.ledger.outbox.add(app.database.pool, {
    id: "placed-1",
    name: "order/placed",
    data: { total: 12 },
    occurredAt,
  });
  expect(await relay().run()).toEqual({ sent: 1, refused: 0, outcome: "drained" });
  expect(app.engine.events()).toMatchObject([
    { id: "placed-1", name: "order/placed", data: { total: 12 }, ts: occurredAt.getTime() },
  ]);
});

test("an event that the server refuses is a dead letter, and the next one goes out", async () => {
  await app.ledger.outbox.add(app.database.pool, [
    { name: "order/placed", data: { n: 1 } },
    { name: "inngest/reserved", data: { n: 2 } },
    { name: "order/placed", data: { n: 3 } },
  ]);
  expect(await relay().run()).toEqual({ sent: 2, refused: 1, outcome: "drained" });
  // The server sees what came before the refused one again, under the id that it knows.
  expect(new Set(app.engine.events().map(({ data }) => data?.["n"]))).toEqual(new Set([1, 3]));
  expect((await app.ledger.report()).deadLetters).toMatchObject({ open: 1 });
});

test("a server that is unavailable refuses nothing: the event waits", async () => {
  await app.ledger.outbox.add(app.database.pool, { name: "order/placed", data: {} });
  app.engine.faults.refuseEvents({ for: "1h" });
  expect(await relay().run()).toEqual({ sent: 0, refused: 0, outcome: "unavailable" });
  expect(await app.ledger.outbox.backlog()).toMatchObject({ pending: 1, refused: 0 });
});
