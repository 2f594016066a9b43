import { randomUUID } from "node:crypto";

import { createLedger, type Ledger } from "@evenkeel/ledger";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterAll, beforeAll, expect, test, vi } from "vitest";

import { createDispatcher, type Dispatcher, type DispatcherOptions } from "./dispatcher.ts";
import type { InlineRequest } from "./inline-fallback.ts";

let t: Setup<Ledger>;
beforeAll(async () => {
  t = await setup(createLedger);
});
afterAll(() => t.close());

const on = { enabled: true, because: "test" };
const at = new Date("2026-01-01T00:00:30Z");

function inAnHour(): Date {
  return new Date(Date.now() + 3_600_000);
}

/** The two ways into inline work. */
const ways = {
  "inline-forced": { useInngest: on, windowSeconds: 60, forceInlineUntil: inAnHour() },
  "inline-emergency-fallback": {
    useInngest: on,
    windowSeconds: 60,
    inlineFallbackUntil: inAnHour(),
  },
} as const;

function host(change: Partial<DispatcherOptions>): Dispatcher {
  return createDispatcher({
    ledger: t.ledger,
    send: () => Promise.reject(new Error("unreachable")),
    config: ways["inline-forced"],
    environment: "test",
    owner: "host-1",
    ...change,
  });
}

/** Work that a test ends when it likes. */
class OpenWork {
  readonly requests: InlineRequest[] = [];
  readonly #ends: PromiseWithResolvers<unknown>[] = [];
  readonly run = (request: InlineRequest): Promise<unknown> => {
    this.requests.push(request);
    const end = Promise.withResolvers<unknown>();
    this.#ends.push(end);
    return end.promise;
  };
  end(): void {
    for (const { resolve } of this.#ends.splice(0)) resolve({ succeeded: 1 });
  }
}

function tickOfItsOwn(): { schedule: string; scheduledAt: Date; source: string } {
  return { schedule: `schedule-${randomUUID()}`, scheduledAt: at, source: "cron" };
}

async function started(work: OpenWork, count = 1): Promise<void> {
  await vi.waitFor(() => expect(work.requests).toHaveLength(count), 60_000);
}

test.each(Object.entries(ways))(
  "%s: work that outlives its claim's lease keeps the claim, and no tick works beside it",
  async (mode, config) => {
    const work = new OpenWork();
    const tick = tickOfItsOwn();
    const leaseMs = 3_000;
    const first = host({ config, runInline: work.run, leaseMs }).dispatch(tick);
    await started(work);
    await t.database.pool.query("SELECT pg_sleep(3.5)");
    const second = await host({ config, runInline: work.run, owner: "host-2", leaseMs }).dispatch(
      tick,
    );
    expect(second).toMatchObject({
      mode: "dispatch-duplicate-suppressed",
      duplicateOf: { status: "DISPATCHING" },
    });
    expect(work.requests).toHaveLength(1);
    work.end();
    expect(await first).toMatchObject({ mode, tracking: true, inline: { succeeded: 1 } });
  },
  60_000,
);

test("work whose claim another host has taken is told to stop, and records nothing", async () => {
  const work = new OpenWork();
  const first = host({ runInline: work.run, leaseMs: 300 }).dispatch(tickOfItsOwn());
  await started(work);
  const { signal, dispatchKey } = work.requests[0]!;
  await t.database.pool.query(
    `UPDATE evenkeel.background_dispatch_window SET fence = gen_random_uuid() WHERE dispatch_key = $1`,
    [dispatchKey],
  );
  await vi.waitFor(() => expect(signal.aborted).toBe(true), 60_000);
  work.end();
  expect(await first).toMatchObject({ tracking: false });
  expect(await t.ledger.windows.find(dispatchKey)).toMatchObject({ status: "DISPATCHING" });
});

test("work that ignores its deadline is answered, and nothing works beside it while the host lives", async () => {
  const work = new OpenWork();
  const dispatcher = host({ runInline: work.run, inlineDeadlineMs: 50, ledgerTimeoutMs: 1_000 });
  const tick = tickOfItsOwn();
  const first = await dispatcher.dispatch(tick);
  expect(first).toMatchObject({ mode: "dispatch-failed", tracking: false });
  expect(first.reason).toContain("deadline");
  const [request] = work.requests;
  expect(request).toMatchObject({ deadlineMs: 50, budgetMs: 50 });
  expect(request?.signal.aborted).toBe(true);

  expect(await dispatcher.dispatch(tick)).toMatchObject({ mode: "dispatch-duplicate-suppressed" });
  const scheduledAt = new Date(at.getTime() + 60_000);
  expect(await dispatcher.dispatch({ ...tick, scheduledAt })).toMatchObject({
    mode: "dispatch-failed",
    reason: expect.stringContaining("still runs"),
  });
  expect(work.requests).toHaveLength(1);

  work.end();
  await vi.waitFor(
    async () =>
      expect(await t.ledger.windows.find(first.dispatchKey)).toMatchObject({
        status: "INLINE_EMERGENCY",
      }),
    60_000,
  );
  const again = dispatcher.dispatch({ ...tick, scheduledAt });
  await started(work, 2);
  work.end();
  expect(await again).toMatchObject({ mode: "inline-forced" });
});

test("a switch's end is the work's: nothing starts and nothing runs after it", async () => {
  const now = new Date("2026-01-01T00:00:00Z");
  const until = new Date(now.getTime() + 4_000);
  const requests: InlineRequest[] = [];
  const base = { useInngest: on, windowSeconds: 60 };
  for (const config of [
    { ...base, forceInlineUntil: until },
    { ...base, inlineFallbackUntil: until },
  ]) {
    const dispatcher = host({
      config,
      clock: { now: () => now },
      runInline: async (request) => void requests.push(request),
    });
    await dispatcher.dispatch(tickOfItsOwn());
  }
  expect(requests).toMatchObject([
    { budgetMs: 4_000, deadlineMs: 4_000 },
    { budgetMs: 4_000, deadlineMs: 4_000 },
  ]);
});
