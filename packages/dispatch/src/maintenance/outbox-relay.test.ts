import { createLedger, type Ledger } from "@evenkeel/ledger";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";

import { DispatchError } from "../dispatch-error.ts";
import { createOutboxRelay, type OutboxRelay, type RelayedEvent } from "./outbox-relay.ts";

let t: Setup<Ledger>;
beforeEach(async () => {
  t = await setup(createLedger);
});
afterEach(() => t.close());

type Send = (events: readonly RelayedEvent[]) => Promise<unknown>;

function relayWith(send: Send, known: Pick<Ledger, "outbox"> = t.ledger): OutboxRelay {
  return createOutboxRelay({ ledger: known, send, owner: "host", maxPerSecond: 1e6 });
}

async function add(...ids: readonly string[]): Promise<void> {
  await t.ledger.outbox.add(
    t.database.pool,
    ids.map((id) => ({ id, name: "order/placed", data: { id } })),
  );
}

/** What time does to a lease and to a backoff. */
async function letTimePass(): Promise<void> {
  await t.database.pool.query(
    `UPDATE "evenkeel"."background_outbox_relay"
     SET "lease_expires_at" = now() - interval '1 second', "not_before" = now() - interval '1 second'`,
  );
}

test("events leave in order, in batches, once", async () => {
  const ids = Array.from({ length: 250 }, (_, index) => `event-${index}`);
  await add(...ids);
  const batches: string[][] = [];
  const send: Send = async (events) => batches.push(events.map(({ id }) => id));
  const reports = await Promise.all([relayWith(send).run(), relayWith(send).run()]);
  expect(batches.flat()).toEqual(ids);
  expect(batches.map(({ length }) => length)).toEqual([100, 100, 50]);
  expect(reports.map(({ outcome }) => outcome).toSorted()).toEqual(["drained", "idle"]);
  expect(await relayWith(send).run()).toEqual({ sent: 0, refused: 0, outcome: "idle" });
});

test("while Inngest is unavailable nothing is lost, and it is asked little at first", async () => {
  await add("a", "b", "c", "d");
  const failing: Send = () => Promise.reject(new Error("connect ECONNREFUSED"));
  expect(await relayWith(failing).run()).toEqual({ sent: 0, refused: 0, outcome: "unavailable" });
  const batches: number[] = [];
  const back: Send = async (events) => batches.push(events.length);
  await letTimePass();
  expect(await relayWith(back).run()).toEqual({ sent: 4, refused: 0, outcome: "drained" });
  expect(batches).toEqual([1, 2, 1]);
});

test("one event that is refused delays no other", async () => {
  await add("a", "b", "bad", "c", "worse");
  const taken: string[] = [];
  const report = await relayWith(async (events) => {
    if (events.some(({ id }) => id === "bad" || id === "worse")) {
      throw new DispatchError("event_refused", "Inngest API Error: 400 malformed");
    }
    taken.push(...events.map(({ id }) => id));
  }).run();
  expect(report).toEqual({ sent: 3, refused: 2, outcome: "drained" });
  expect(taken).toEqual(["a", "b", "c"]);
  expect(await t.ledger.outbox.backlog()).toMatchObject({ pending: 0, refused: 2 });
});

test("a request stays below the server's limit", async () => {
  await t.ledger.outbox.add(
    t.database.pool,
    [1, 2, 3].map(() => ({ name: "big", data: { text: "x".repeat(200_000) } })),
  );
  const sizes: number[] = [];
  await relayWith(async (events) => sizes.push(events.length)).run();
  expect(sizes).toEqual([1, 1, 1]);
});

test("a started relay sends what is added, and stops", async () => {
  const taken = new Set<string>();
  const relay = createOutboxRelay({
    ledger: t.ledger,
    send: async (events) => events.forEach(({ id }) => taken.add(id)),
    owner: "host",
    pollMs: 5,
  });
  const started = relay.start();
  await add("a");
  await expect.poll(() => [...taken]).toEqual(["a"]);
  await add("b");
  await expect.poll(() => [...taken]).toEqual(["a", "b"]);
  await started.stop();
  await add("c");
  expect(await t.ledger.outbox.backlog()).toMatchObject({ pending: 1 });
});

/** Where a host dies in a run: before it reads, before the send arrives, or before it is recorded. */
const crashPoints = ["none", "after-lease", "before-send", "after-send"] as const;
const command = fc.oneof(
  fc.record({ kind: fc.constant("add" as const), events: fc.nat(4), commits: fc.boolean() }),
  fc.record({
    kind: fc.constant("relay" as const),
    crash: fc.constantFrom(...crashPoints),
    sends: fc.constantFrom("arrives", "fails", "response-lost"),
  }),
  fc.record({ kind: fc.constant("time" as const) }),
);

test("whatever dies when: what was committed arrives, in order, and nothing else", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 20 }), async (commands) => {
      await t.database.pool.query(
        `TRUNCATE "evenkeel"."background_outbox_event", "evenkeel"."background_outbox_relay"`,
      );
      const expected: string[] = [];
      const arrived = new Set<string>();
      const arrive: Send = async (events) => events.forEach(({ id }) => arrived.add(id));
      let next = 0;
      for (const step of commands) {
        if (step.kind === "time") await letTimePass();
        else if (step.kind === "add") {
          const ids = Array.from({ length: step.events }, () => `event-${(next += 1)}`);
          const client = await t.database.pool.connect();
          await client.query("BEGIN");
          await t.ledger.outbox.add(
            client,
            ids.map((id) => ({ id, name: "a", data: {} })),
          );
          await client.query(step.commits ? "COMMIT" : "ROLLBACK");
          client.release();
          if (step.commits) expected.push(...ids);
        } else {
          await relayWith(sendThat(step, arrive), dyingLedger(step.crash)).run().catch(ignoreDeath);
        }
      }
      await letTimePass();
      await relayWith(arrive).run();
      expect([...arrived]).toEqual(expected);
      expect(await t.ledger.outbox.backlog()).toMatchObject({ pending: 0 });
    }),
    { numRuns: 60 },
  );
});

class Death extends Error {}

function ignoreDeath(error: unknown): void {
  if (!(error instanceof Death)) throw error;
}

function sendThat(
  { crash, sends }: { readonly crash: string; readonly sends: string },
  arrive: Send,
): Send {
  return async (events) => {
    if (crash === "before-send") throw new Death();
    if (sends !== "fails") await arrive(events);
    if (crash === "none" && sends !== "arrives") throw new Error("socket hang up");
  };
}

/** A ledger whose host dies at a point: from then on it says nothing more. */
function dyingLedger(crash: (typeof crashPoints)[number]): Pick<Ledger, "outbox"> {
  const die = (): Promise<never> => Promise.reject(new Death());
  const { outbox } = t.ledger;
  if (crash === "none") return t.ledger;
  return {
    outbox: { ...outbox, settle: die, ...(crash === "after-lease" ? { read: die } : {}) },
  };
}
