import { scheduledEventSchema } from "@evenkeel/events";
import { createRunner, defineJob, handleJob, type Runner } from "@evenkeel/jobs";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import { installMovableClock, type MovableClock } from "@evenkeel/test-postgres/movable-clock";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";

import { createFanOut } from "../fan-out/fan-out.ts";
import { createReconciler } from "../maintenance/reconciler.ts";
import { createWatchdog } from "../maintenance/watchdog.ts";
import type { ScheduleStart } from "../schedule/schedule-start.ts";
import { defineSchedule, type Schedule, type ScheduleOptions } from "../schedule/schedule.ts";
import { createDispatcher, type DispatcherOptions } from "./dispatcher.ts";
import type { OutgoingEvent } from "./prepared-dispatch.ts";
import type { DispatchMode } from "./receipt.ts";

let t: Setup<Ledger>;
let clock: MovableClock;
let sent: OutgoingEvent[];
beforeEach(async () => {
  t = await setup(createLedger);
  clock = await installMovableClock(t.database);
  sent = [];
});
afterEach(() => t.close());

const minute = 60_000;
const now = { now: () => new Date(clock.now()) };

const digestJob = defineJob({
  type: "digest.send",
  version: 1,
  payload: z.object({ from: z.string(), tenant: z.string(), region: z.string().optional() }),
});
const digestRequested = {
  name: "digest.requested",
  version: 2,
  schema: scheduledEventSchema.extend({ day: z.string() }),
} as const;

const tenants = ["acme", "bolt", "core"];

const starts: Record<string, () => Pick<ScheduleOptions, "start" | "scope">> = {
  job: () => ({ start: startJob() }),
  event: () => ({
    start: {
      event: digestRequested,
      data: ({ start }) => ({ day: start.toISOString().slice(0, 10) }),
    },
  }),
  tenants: () => ({
    scope: "tenant",
    start: { ...startJob(), spreadSeconds: 0, tenants: async () => ({ tenants }) },
  }),
};

function startJob() {
  return {
    job: digestJob,
    payload: ({ start, tenantId, params }) => ({
      from: start.toISOString(),
      tenant: tenantId ?? "none",
      ...(params === undefined ? {} : { region: z.string().parse(params["region"]) }),
    }),
  } as const satisfies ScheduleStart<typeof digestJob.payload>;
}

function host(settings: Partial<ScheduleOptions>, change: Partial<DispatcherOptions> = {}) {
  const schedule: Schedule = defineSchedule({ id: "s", every: 60, ...settings });
  const schedules = [schedule];
  const dispatcher = createDispatcher({
    ledger: t.ledger,
    send: async (events) => void sent.push(...events),
    config: { useInngest: { enabled: true, because: "test" }, windowSeconds: 60 },
    environment: "test",
    owner: "host-1",
    clock: now,
    schedules,
    ...change,
  });
  const base = { ledger: t.ledger, dispatcher, owner: "host-1" };
  const watchdog = createWatchdog({ ...base, schedules, clock: now });
  const reconciler = createReconciler(base);
  const tick = (
    more: { source?: string; params?: Record<string, string>; tenantId?: string } = {},
  ) => dispatcher.dispatch({ schedule: "s", source: "cron", onlyIfDue: true, ...more });
  return { schedule, dispatcher, watchdog, reconciler, tick };
}

/** Runs what is due: the fan-out alone, so that the product's own jobs stay to be looked at. */
function fanOutRunner(schedule: Schedule): Pick<Runner, "drain"> {
  const fanOut = createFanOut({ ledger: t.ledger, pool: t.database.pool, schedules: [schedule] });
  return createRunner({ ledger: t.ledger, handlers: [fanOut], owner: "worker-1" });
}

interface JobRow {
  readonly tenant: string;
  readonly payload: { readonly from: string; readonly tenant: string; readonly region?: string };
}

async function jobs(): Promise<JobRow[]> {
  const { rows } = await t.database.pool.query<JobRow>(
    `SELECT tenant_id AS tenant, payload FROM evenkeel.background_job WHERE type = 'digest.send'
     ORDER BY payload->>'from', tenant_id, payload->>'region'`,
  );
  return rows;
}

/** What windows started, by the kind of start: one text for each. */
async function started(kind: string, schedule: Schedule): Promise<string[]> {
  if (kind === "event") {
    const own = sent.filter(({ name }) => name === digestRequested.name);
    return own.map(({ data }) =>
      [data.dispatchWindowStart, z.string().default("").parse(data.params?.["region"])].join(" "),
    );
  }
  if (kind === "tenants") await fanOutRunner(schedule).drain({ budgetMs: 60_000 });
  const rows = await jobs();
  const texts = rows.map(({ payload }) => [payload.from, payload.region ?? ""].join(" "));
  if (kind === "job") return texts;
  // Every tenant has its own, or none has.
  const counts = Object.groupBy(texts, (text) => text);
  for (const [text, all] of Object.entries(counts)) {
    expect({ text, of: all?.length }).toEqual({ text, of: tenants.length });
  }
  return Object.keys(counts);
}

/** Something of the newest window is under way: its run, or what it started. */
async function keepBusy(kind: string, schedule: Schedule): Promise<void> {
  await started(kind, schedule);
  const own = sent.findLast(({ name }) => name === digestRequested.name);
  if (kind !== "event" || own === undefined) return;
  await t.ledger.runs.begin({
    runId: own.id,
    functionId: "f",
    eventName: own.name,
    owner: "o",
    attempt: 0,
    dispatchKey: own.data.dispatchKey,
  });
}

const first = "2026-01-01T00:00:00.000Z ";
const second = "2026-01-01T00:01:00.000Z ";

describe.each(Object.keys(starts))("a schedule that starts %s", (kind) => {
  const settings = () => starts[kind]?.() ?? {};

  test("starts once per window, however often it ticks, and is never idle", async () => {
    const { tick, schedule } = host(settings());
    const modes = await Promise.all([1, 2, 3, 4, 5].map(async () => (await tick()).mode));
    expect(modes.filter((mode) => mode === "dispatch-only")).toHaveLength(1);
    expect(await started(kind, schedule)).toEqual([first]);
    await clock.advance(minute);
    const again: DispatchMode[] = [(await tick()).mode, (await tick()).mode];
    expect(again).toEqual(["dispatch-only", "dispatch-duplicate-suppressed"]);
    expect(await started(kind, schedule)).toEqual([first, second]);
    const names = new Set(sent.map(({ name }) => name));
    expect(names.has("background/process.requested")).toBe(kind !== "event");
  });

  test("starts again neither after a failed send, nor after a repair", async () => {
    let failure: Error | undefined = new Error("unreachable");
    const failing = {
      send: async (events: readonly OutgoingEvent[]) => {
        if (failure !== undefined) throw failure;
        sent.push(...events);
      },
    };
    const { tick, schedule, reconciler } = host(settings(), failing);
    expect((await tick()).mode).toBe("dispatch-failed");
    failure = undefined;
    await clock.advance(minute / 2);
    expect((await reconciler.run()).repaired).toBe(1);
    expect(await started(kind, schedule)).toEqual([first]);
    const own = sent.filter(({ name }) => !name.includes("maintenance"));
    expect(own).toHaveLength(1);
    expect((await tick()).mode).toBe("dispatch-only");
  });

  test("is left out while an earlier window's is under way, where overlap is ruled out", async () => {
    const { tick, schedule } = host({ ...settings(), overlap: "skip" });
    await tick();
    await keepBusy(kind, schedule);
    await clock.advance(minute);
    const { mode } = await tick();
    // What is fanned out is left out for each tenant by itself.
    expect(mode).toBe(kind === "tenants" ? "dispatch-only" : "skipped-overlap");
    expect(await started(kind, schedule)).toEqual([first]);
    await t.database.pool.query(`DELETE FROM evenkeel.background_job`);
    await t.database.pool.query(`UPDATE evenkeel.background_function_run
      SET status = 'SUCCEEDED', finished_at = now()`);
    await clock.advance(minute);
    expect((await tick()).mode).toBe("dispatch-only");
    expect((await started(kind, schedule)).at(-1)).toBe("2026-01-01T00:02:00.000Z ");
  });

  test("is caught up with where no tick came", async () => {
    const { tick, schedule, watchdog } = host({ ...settings(), catchUp: { max: 5 } });
    await watchdog.declare();
    await tick();
    await clock.advance(4 * minute - 1_000);
    await tick();
    await clock.advance(1_000);
    expect(await watchdog.run()).toMatchObject({ caughtUp: 2, missed: 0 });
    expect(await watchdog.run()).toMatchObject({ caughtUp: 0, missed: 0 });
    const minutes = (await started(kind, schedule)).map((text) => text.slice(14, 16)).toSorted();
    expect(minutes).toEqual(["00", "01", "02", "04"]);
  });

  test("starts nothing while it is paused", async () => {
    const { tick, schedule } = host(settings());
    await t.ledger.asOperator("night").schedules.pause("s");
    expect((await tick()).mode).toBe("paused");
    expect(await started(kind, schedule)).toEqual([]);
    await t.ledger.asOperator("night").schedules.resume("s");
    expect((await tick()).mode).toBe("dispatch-only");
    expect(await started(kind, schedule)).toEqual([first]);
  });

  test("starts another for other parameters, which it is given", async () => {
    const { tick, schedule } = host({ ...settings(), params: ["region"] });
    for (const region of ["eu", "us", "eu"]) await tick({ params: { region } });
    expect((await started(kind, schedule)).toSorted()).toEqual([`${first}eu`, `${first}us`]);
    await expect(tick({ params: { city: "b" } })).rejects.toMatchObject({ code: "invalid_params" });
  });

  test("runs now when an operator asks, and the tick after it is a duplicate", async () => {
    const { tick, dispatcher, schedule } = host(settings());
    const byHand = await dispatcher.dispatch({ schedule: "s", source: "manual" });
    expect(byHand.mode).toBe("dispatch-only");
    expect((await tick()).mode).toBe("dispatch-duplicate-suppressed");
    expect(await started(kind, schedule)).toEqual([first]);
  });

  test("without the ledger starts no job, and sends an event all the same", async () => {
    const ledger = createLedger({ databaseUrl: "postgresql://nobody:pw@127.0.0.1:1/none" });
    const { tick } = host(settings(), { ledger });
    const receipt = await tick();
    await ledger.close();
    const isEvent = kind === "event";
    expect(receipt).toMatchObject({
      mode: isEvent ? "dispatch-only" : "dispatch-failed",
      tracking: false,
    });
    expect(sent.length > 0).toBe(isEvent);
  });

  test("is mirrored into the ledger by name, and keeps its windows across declarations", async () => {
    const { watchdog, schedule } = host(settings());
    await watchdog.declare();
    await watchdog.declare();
    const { rows } = await t.database.pool.query<{ start: unknown; earlier: unknown }>(
      `SELECT definition->'start' AS start, earlier_definitions AS earlier FROM evenkeel.background_schedule`,
    );
    const event = { event: "digest.requested", version: 2 };
    const job = {
      job: "digest.send",
      version: 1,
      fansOut: schedule.windowScope !== schedule.scope,
    };
    expect(rows).toMatchObject([{ start: kind === "event" ? event : job, earlier: [] }]);
  });
});

test("a job exists if and only if its window is claimed", async () => {
  const refused = host({ start: { ...startJob(), payload: () => ({ from: 1 }) } });
  await expect(refused.tick()).rejects.toMatchObject({ code: "invalid_payload" });
  const { rows } = await t.database.pool.query(`SELECT FROM evenkeel.background_dispatch_window`);
  expect(rows).toEqual([]);
  expect(await jobs()).toEqual([]);
  // The host dies after the claim: its job is there, and whoever claims the window again makes no other.
  const died = Promise.withResolvers<undefined>();
  const dying = host(
    { start: startJob() },
    {
      send: () => {
        died.resolve(undefined);
        return new Promise<never>(() => {});
      },
    },
  );
  void dying.tick();
  await died.promise;
  expect(await jobs()).toHaveLength(1);
  const { tick } = host({ start: startJob() });
  await t.database.pool.query(
    `UPDATE evenkeel.background_dispatch_window SET lease_expires_at = now() - interval '1 second'`,
  );
  expect((await tick()).mode).toBe("dispatch-only");
  expect(await jobs()).toHaveLength(1);
});

test("a job that has ended is not started again by its window, and a definition's own key does not count", async () => {
  const unique = defineJob({
    ...digestJob,
    type: "digest.send",
    unique: "one",
    retry: digestJob.retry,
    result: z.any(),
  });
  const { tick, dispatcher } = host({ scope: "tenant", start: { ...startJob(), job: unique } });
  await tick({ tenantId: "acme" });
  await clock.advance(minute);
  await tick({ tenantId: "acme" });
  expect(await jobs()).toHaveLength(2);
  const handlers = [handleJob(unique, async () => {})];
  const runner = createRunner({ ledger: t.ledger, handlers, owner: "worker-1" });
  expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ succeeded: 2 });
  expect((await tick({ tenantId: "acme" })).mode).toBe("dispatch-duplicate-suppressed");
  await dispatcher.dispatch({ schedule: "s", source: "manual", tenantId: "bolt" });
  expect((await jobs()).map(({ tenant }) => tenant)).toEqual(["bolt"]);
});

test("an event carries the product's fields, and has one id per window", async () => {
  const { tick, dispatcher } = host(starts["event"]?.() ?? {});
  await tick();
  const event = sent.find(({ name }) => name === digestRequested.name);
  expect(event?.id).toMatch(/^digest\.requested:v2:test:[0-9a-f]{32}$/u);
  expect(event?.data).toMatchObject({ day: "2026-01-01", schemaVersion: 2, schedule: "s" });
  const forced = host(starts["event"]?.() ?? {}, {
    config: {
      useInngest: { enabled: true, because: "test" },
      windowSeconds: 60,
      forceInlineUntil: new Date(clock.now() + 60 * minute),
    },
    runInline: async () => ({}),
  });
  await clock.advance(minute);
  expect(await forced.tick()).toMatchObject({ mode: "not-configured", tracking: false });
  expect((await dispatcher.dispatch({ schedule: "s", source: "cron" })).mode).toBe("dispatch-only");
});

test("a start that cannot be is refused by name", () => {
  const refused: readonly (readonly [Partial<ScheduleOptions>, string])[] = [
    [{ start: { event: { ...digestRequested, name: "background/mine" } } }, "background/"],
    [
      { start: { ...startJob(), tenants: async () => ({ tenants: [] }) } },
      "only with the scope tenant",
    ],
    [{ scope: "tenant", start: { ...startJob(), tenantId: "t" } }, "no start.tenantId"],
    [{ start: { ...startJob(), perSecond: 0 } }, "start.perSecond"],
    [{ start: { ...startJob(), spreadSeconds: -1 } }, "start.spreadSeconds"],
  ];
  for (const [settings, problem] of refused) {
    expect(() => defineSchedule({ id: "s", every: 60, ...settings })).toThrow(problem);
  }
});
