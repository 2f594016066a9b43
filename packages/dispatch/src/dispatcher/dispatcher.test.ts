import { randomUUID } from "node:crypto";

import { createLedger, type Ledger } from "@evenkeel/ledger";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

import { createDispatcher, type Dispatcher } from "./dispatcher.ts";
import type { DispatcherOptions } from "./dispatcher.ts";
import type { OutgoingEvent } from "./prepared-dispatch.ts";

let t: Setup<Ledger>;
beforeAll(async () => {
  t = await setup(createLedger);
});
afterAll(() => t.close());

/** Remembers what was sent; fails as long as it is told to. */
class Inbox {
  readonly sent: OutgoingEvent[][] = [];
  failure: Error | undefined;
  readonly send = async (events: readonly OutgoingEvent[]): Promise<void> => {
    if (this.failure !== undefined) throw this.failure;
    this.sent.push([...events]);
  };
}

const on = { enabled: true, because: "test" };
const off = { enabled: false, because: "test" };

function host(inbox: Inbox, change: Partial<DispatcherOptions> = {}): Dispatcher {
  return createDispatcher({
    ledger: t.ledger,
    send: inbox.send,
    config: { useInngest: on, windowSeconds: 60 },
    environment: "test",
    owner: "host-1",
    ...change,
  });
}

function scheduleOfItsOwn(): string {
  return `schedule-${randomUUID()}`;
}

const at = new Date("2026-01-01T00:00:30Z");

function inAnHour(): Date {
  return new Date(Date.now() + 3_600_000);
}

test("200 concurrent ticks over four dispatchers claim once and send once", async () => {
  const inbox = new Inbox();
  const schedule = scheduleOfItsOwn();
  const hosts = [1, 2, 3, 4].map((n) =>
    host(inbox, {
      ledger: createLedger({ pool: t.database.connect() }),
      owner: `host-${n}`,
      // However busy the machine: a ledger that counts as unavailable would be another test.
      ledgerTimeoutMs: 100_000,
    }),
  );
  const receipts = await Promise.all(
    Array.from({ length: 200 }, async (_, index) => {
      const tick = { schedule, scheduledAt: at, source: "cron" };
      return (hosts[index % 4] ?? host(inbox)).dispatch(tick);
    }),
  );
  const modes = receipts.map(({ mode }) => mode);
  expect(modes.filter((mode) => mode === "dispatch-only")).toHaveLength(1);
  expect(modes.filter((mode) => mode === "dispatch-duplicate-suppressed")).toHaveLength(199);
  expect(inbox.sent).toHaveLength(1);
  expect(inbox.sent[0]?.map(({ name }) => name)).toEqual([
    "background/process.requested",
    "background/maintenance.requested",
  ]);
  expect(await t.ledger.windows.find(receipts[0]?.dispatchKey ?? "")).toMatchObject({
    status: "ENQUEUED",
    claimCount: 1,
    duplicateCount: 199,
  });
});

test("a failed send is a new try in the same window, and not a duplicate", async () => {
  const inbox = new Inbox();
  const tick = { schedule: scheduleOfItsOwn(), scheduledAt: at, source: "cron" };
  inbox.failure = new Error("connect ECONNREFUSED, token=abc123 Bearer eyJhbGciOi");
  const failed = await host(inbox).dispatch(tick);
  expect(failed).toMatchObject({ mode: "dispatch-failed", tracking: true, eventIds: [] });
  expect(failed.reason).not.toContain("eyJhbGciOi");
  expect(await t.ledger.windows.find(failed.dispatchKey)).toMatchObject({
    status: "ENQUEUE_FAILED",
    failureCount: 1,
  });

  inbox.failure = undefined;
  const again = await host(inbox, { owner: "host-2" }).dispatch(tick);
  expect(again).toMatchObject({ mode: "dispatch-only", tracking: true });
  expect(again.eventIds).toHaveLength(2);
  expect(await t.ledger.windows.find(failed.dispatchKey)).toMatchObject({
    status: "ENQUEUED",
    claimCount: 2,
    lastError: null,
  });
});

test("a claim whose host died is taken over after its lease, with the same event ids", async () => {
  const inbox = new Inbox();
  const tick = { schedule: scheduleOfItsOwn(), scheduledAt: at, source: "cron" };
  const entered = Promise.withResolvers<readonly OutgoingEvent[]>();
  const dead = host(inbox, {
    send: (events) => {
      entered.resolve(events);
      return new Promise<never>(() => {});
    },
  });
  void dead.dispatch(tick);
  const lost = await entered.promise;

  const early = await host(inbox).dispatch(tick);
  expect(early).toMatchObject({
    mode: "dispatch-duplicate-suppressed",
    duplicateOf: { status: "DISPATCHING" },
  });
  await expire(early.dispatchKey);
  const taken = await host(inbox, { owner: "host-2" }).dispatch(tick);
  expect(taken.mode).toBe("dispatch-only");
  expect(taken.eventIds).toEqual(lost.map(({ id }) => id));
});

test("the write of a first owner that comes back late is refused", async () => {
  const inbox = new Inbox();
  const tick = { schedule: scheduleOfItsOwn(), scheduledAt: at, source: "cron" };
  const entered = Promise.withResolvers<undefined>();
  const release = Promise.withResolvers<undefined>();
  const slow = host(inbox, {
    send: async () => {
      entered.resolve(undefined);
      await release.promise;
      throw new Error("reset by peer");
    },
  });
  const late = slow.dispatch(tick);
  await entered.promise;
  const { dispatchKey } = await host(inbox).dispatch(tick);
  await expire(dispatchKey);
  const second = await host(inbox, { owner: "host-2" }).dispatch(tick);
  expect(second).toMatchObject({ mode: "dispatch-only", tracking: true });

  release.resolve(undefined);
  expect(await late).toMatchObject({ mode: "dispatch-failed", tracking: false });
  expect(await t.ledger.windows.find(dispatchKey)).toMatchObject({
    status: "ENQUEUED",
    failureCount: 0,
  });
});

test("without the ledger it sends all the same, and says that nothing is tracked", async () => {
  const inbox = new Inbox();
  const unavailable = createLedger({ databaseUrl: "postgresql://nobody:pw@127.0.0.1:1/none" });
  const tick = { schedule: scheduleOfItsOwn(), scheduledAt: at, source: "cron" };
  const first = await host(inbox, { ledger: unavailable }).dispatch(tick);
  const second = await host(inbox, { ledger: unavailable }).dispatch(tick);
  expect(first).toMatchObject({ mode: "dispatch-only", tracking: false });
  // Inngest drops the second: the ids are the same.
  expect(second.eventIds).toEqual(first.eventIds);
  await unavailable.close();
});

test("a ledger that does not respond in time counts as unavailable", async () => {
  const inbox = new Inbox();
  const silent: Pick<Ledger, "windows"> = {
    windows: { ...t.ledger.windows, claim: () => new Promise<never>(() => {}) },
  };
  const receipt = await host(inbox, { ledger: silent, ledgerTimeoutMs: 20 }).dispatch({
    schedule: scheduleOfItsOwn(),
    scheduledAt: at,
    source: "cron",
  });
  expect(receipt).toMatchObject({ mode: "dispatch-only", tracking: false });
});

test("a send that does not end in time is a failed one, and its signal fires", async () => {
  const inbox = new Inbox();
  let seen: AbortSignal | undefined;
  const receipt = await host(inbox, {
    sendTimeoutMs: 20,
    send: (_events, { signal }) => {
      seen = signal;
      return new Promise<never>(() => {});
    },
  }).dispatch({ schedule: scheduleOfItsOwn(), scheduledAt: at, source: "cron" });
  expect(receipt).toMatchObject({ mode: "dispatch-failed", reason: "No answer within 20 ms." });
  expect(seen?.aborted).toBe(true);
});

test("a paused schedule claims nothing and sends nothing", async () => {
  const inbox = new Inbox();
  const schedule = scheduleOfItsOwn();
  await t.ledger
    .asOperator("night-shift")
    .schedules.pause(schedule, { reason: "provider is down" });
  const tick = { schedule, scheduledAt: at, source: "cron" };
  const receipt = await host(inbox).dispatch(tick);
  expect(receipt).toMatchObject({ mode: "paused", reason: "provider is down" });
  expect(await t.ledger.windows.find(receipt.dispatchKey)).toBeUndefined();
  await t.ledger.asOperator("ops").schedules.resume(schedule);
  expect((await host(inbox).dispatch(tick)).mode).toBe("dispatch-only");
});

const inlineAt = new Date("2026-01-01T00:00:00Z");

test("the emergency switch works inline when a send fails, until it expires", async () => {
  const inbox = new Inbox();
  inbox.failure = new Error("unreachable");
  let now = inlineAt;
  let inlined = 0;
  const dispatcher = host(inbox, {
    clock: { now: () => now },
    config: {
      useInngest: on,
      windowSeconds: 60,
      inlineFallbackUntil: new Date(inlineAt.getTime() + 60_000),
    },
    runInline: async ({ budgetMs }) => {
      expect(budgetMs).toBeGreaterThan(0);
      inlined += 1;
      return { succeeded: 3 };
    },
  });
  const schedule = scheduleOfItsOwn();
  const inline = await dispatcher.dispatch({ schedule, source: "cron" });
  expect(inline).toMatchObject({
    mode: "inline-emergency-fallback",
    tracking: true,
    inline: { succeeded: 3 },
  });
  expect(await t.ledger.windows.find(inline.dispatchKey)).toMatchObject({
    status: "INLINE_EMERGENCY",
  });
  expect((await dispatcher.dispatch({ schedule, source: "cron" })).mode).toBe(
    "dispatch-duplicate-suppressed",
  );
  now = new Date(inlineAt.getTime() + 60_000);
  expect((await dispatcher.dispatch({ schedule, source: "cron" })).mode).toBe("dispatch-failed");
  expect(inlined).toBe(1);
});

test("forced inline sends nothing and works once per window", async () => {
  const inbox = new Inbox();
  let inlined = 0;
  const dispatcher = host(inbox, {
    config: { useInngest: on, forceInlineUntil: inAnHour(), windowSeconds: 60 },
    runInline: async () => {
      inlined += 1;
    },
  });
  const tick = { schedule: scheduleOfItsOwn(), scheduledAt: at, source: "cron" };
  const receipts = await Promise.all([1, 2, 3].map(() => dispatcher.dispatch(tick)));
  expect(receipts.map(({ mode }) => mode).toSorted()).toEqual([
    "dispatch-duplicate-suppressed",
    "dispatch-duplicate-suppressed",
    "inline-forced",
  ]);
  expect(inlined).toBe(1);
  expect(inbox.sent).toEqual([]);
});

test("forced inline ends by itself at its time", async () => {
  const inbox = new Inbox();
  let now = new Date("2026-01-01T00:00:30Z");
  let inlined = 0;
  const dispatcher = host(inbox, {
    config: {
      useInngest: on,
      forceInlineUntil: new Date("2026-01-01T00:05:00Z"),
      windowSeconds: 60,
    },
    runInline: async () => {
      inlined += 1;
    },
    clock: { now: () => now },
  });
  const schedule = scheduleOfItsOwn();
  const modes: string[] = [];
  for (const time of ["00:04:59.999", "00:05:00.000"]) {
    now = new Date(`2026-01-01T${time}Z`);
    modes.push((await dispatcher.dispatch({ schedule, source: "cron" })).mode);
  }
  expect(modes).toEqual(["inline-forced", "dispatch-only"]);
  expect(inlined).toBe(1);
  expect(inbox.sent).toHaveLength(1);
});

test("inline work that fails leaves the window to the next tick", async () => {
  const inbox = new Inbox();
  let failures = 1;
  const dispatcher = host(inbox, {
    config: { useInngest: on, forceInlineUntil: inAnHour(), windowSeconds: 60 },
    runInline: async () => {
      failures -= 1;
      if (failures >= 0) throw new Error("the queue is unavailable");
    },
  });
  const tick = { schedule: scheduleOfItsOwn(), scheduledAt: at, source: "cron" };
  expect((await dispatcher.dispatch(tick)).mode).toBe("dispatch-failed");
  expect((await dispatcher.dispatch(tick)).mode).toBe("inline-forced");
});

test("with Inngest off and no switch on, nothing is claimed", async () => {
  const inbox = new Inbox();
  const receipt = await host(inbox, {
    config: { useInngest: off, windowSeconds: 60 },
  }).dispatch({ schedule: scheduleOfItsOwn(), scheduledAt: at, source: "cron" });
  expect(receipt).toMatchObject({ mode: "not-configured", tracking: false });
  expect(await t.ledger.windows.find(receipt.dispatchKey)).toBeUndefined();
  expect(inbox.sent).toEqual([]);
});

test("bad input is refused before anything is claimed", async () => {
  const inbox = new Inbox();
  const dispatcher = host(inbox);
  const schedule = scheduleOfItsOwn();
  const tick = { schedule, scheduledAt: at, source: "cron" };
  for (const [change, code] of [
    [{ tenantId: "" }, "invalid_tenant"],
    [{ tenantId: "x".repeat(201) }, "invalid_tenant"],
    [{ schedule: "No Such" }, "invalid_schedule"],
    [{ scheduledAt: new Date(Number.NaN) }, "invalid_window"],
    [{ params: { big: "x".repeat(600 * 1024) } }, "payload_too_large"],
    [{ correlationId: "x".repeat(201) }, "invalid_payload"],
  ] as const) {
    await expect(dispatcher.dispatch({ ...tick, ...change })).rejects.toMatchObject({ code });
  }
  const { rows } = await t.database.pool.query(
    `SELECT FROM "evenkeel"."background_dispatch_window" WHERE "schedule" = $1`,
    [schedule],
  );
  expect(rows).toEqual([]);
  expect(inbox.sent).toEqual([]);
});

async function expire(dispatchKey: string): Promise<void> {
  await t.database.pool.query(
    `UPDATE "evenkeel"."background_dispatch_window" SET "lease_expires_at" = now() - interval '1 second'
     WHERE "dispatch_key" = $1`,
    [dispatchKey],
  );
}
