import type { ClaimedJob } from "@evenkeel/ledger";
import fc from "fast-check";
import { expect, test } from "vitest";

import { handleJob } from "../../definition/job-handler.ts";
import { countJob } from "../../testing/count-job.ts";
import { LocalQueue } from "./local-queue.ts";
import { slotTurnMs } from "./slot-sharing.ts";
import { SuspectGate } from "./suspect-gate.ts";
import { TenantSlots } from "./tenant-slots.ts";

const handler = handleJob(countJob, async () => {});

function jobOf(id: number, tenantId: string): ClaimedJob {
  const fields = { type: "count", version: 1, payload: { n: id }, priority: 0, attempt: 1 };
  const rest = { maxAttempts: 3, crashes: 0, fence: "1", runAt: new Date(0), errors: [] };
  return { id: String(id), tenantId, ...fields, ...rest, correlationId: null };
}

interface Tenant {
  readonly id: string;
  readonly arrivesAtMs: number;
  readonly jobs: number;
  /** How long each of its jobs takes; infinite when they hang. */
  readonly durationMs: number;
}

interface Played {
  /** How long after its tenant's arrival each tenant's first job started, in order of arrival. */
  readonly waits: ReadonlyMap<string, number>;
  readonly mostRunning: number;
  readonly mostTenants: number;
  /** The most slots that a tenant held while it was alone. */
  readonly mostAlone: number;
}

/** Plays a drain's slots against a clock of its own, in steps of 10 ms, until it is later than `untilMs`. */
function play(slots: number, tenants: readonly Tenant[], untilMs: number): Played {
  const taken = new TenantSlots({ slots, isShared: true });
  const queue = new LocalQueue(taken, new SuspectGate(), () => undefined);
  const running = new Map<string, { readonly tenantId: string; readonly endsAtMs: number }>();
  const waits = new Map<string, number>();
  let [lastId, mostRunning, mostTenants, mostAlone] = [0, 0, 0, 0];
  const byArrival = tenants.toSorted((a, b) => a.arrivesAtMs - b.arrivesAtMs);
  let arrived = 0;
  for (let nowMs = 0; nowMs <= untilMs; nowMs += 10) {
    for (; (byArrival[arrived]?.arrivesAtMs ?? Infinity) <= nowMs; arrived += 1) {
      const { id, jobs } = byArrival[arrived] ?? { id: "", jobs: 0 };
      for (let n = 0; n < jobs; n += 1) queue.add(jobOf((lastId += 1), id), handler, true);
    }
    for (const [id, { tenantId, endsAtMs }] of running) {
      if (endsAtMs > nowMs) continue;
      running.delete(id);
      taken.free(id);
      queue.moveTenant(tenantId);
    }
    for (let next = queue.take(nowMs); next !== undefined; next = queue.take(nowMs)) {
      const { id, tenantId } = next.job;
      const tenant = tenants.find((one) => one.id === tenantId);
      taken.take(id, tenantId);
      taken.start(id, nowMs);
      queue.moveTenant(tenantId);
      running.set(id, { tenantId, endsAtMs: nowMs + (tenant?.durationMs ?? 0) });
      if (!waits.has(tenantId)) waits.set(tenantId, nowMs - (tenant?.arrivesAtMs ?? 0));
    }
    const active = new Set([...running.values()].map(({ tenantId }) => tenantId)).size;
    mostRunning = Math.max(mostRunning, taken.size);
    mostTenants = Math.max(mostTenants, active);
    if (arrived === 1) mostAlone = Math.max(mostAlone, taken.size);
  }
  return { waits, mostRunning, mostTenants, mostAlone };
}

const arrivals = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3_000 }));

test("with fewer hanging tenants than slots, each tenant's first job starts within a slot's turn, however they arrive", () => {
  const property = fc.property(
    fc.integer({ min: 2, max: 100 }).chain((slots) =>
      fc.record({
        slots: fc.constant(slots),
        hanging: fc.array(arrivals, { minLength: 1, maxLength: slots - 1 }),
        isSequential: fc.boolean(),
        newcomerAtMs: fc.integer({ min: 0, max: 6_000 }),
      }),
    ),
    ({ slots, hanging, isSequential, newcomerAtMs }) => {
      const at = (place: number, ms: number): number => (isSequential ? place * 40 : ms);
      const tenants: Tenant[] = hanging.map((ms, place) => {
        const arrivesAtMs = at(place, ms);
        return { id: `h${place}`, arrivesAtMs, jobs: 3 * slots, durationMs: Infinity };
      });
      tenants.push({ id: "new", arrivesAtMs: newcomerAtMs, jobs: 1, durationMs: 10 });
      const { waits, mostAlone, mostRunning, mostTenants } = play(slots, tenants, 8_000);
      expect(waits.size).toBe(tenants.length);
      // Two steps of the clock: one to see that a turn is over.
      for (const waitMs of waits.values()) expect(waitMs).toBeLessThanOrEqual(slotTurnMs + 20);
      expect(mostTenants).toBeLessThanOrEqual(slots);
      expect(mostRunning).toBeLessThanOrEqual(2 * slots - 1);
      expect(mostAlone).toBeLessThan(slots);
    },
  );
  fc.assert(property, { numRuns: 60 });
});

test("over mixes of quick, slow and hanging tenants no job waits longer than the others' turns before it", () => {
  const kinds = fc.constantFrom(10, 60, 400, 900);
  const property = fc.property(
    fc.integer({ min: 2, max: 30 }).chain((slots) =>
      fc.record({
        slots: fc.constant(slots),
        hanging: fc.array(arrivals, { maxLength: slots - 1 }),
        others: fc.array(fc.tuple(arrivals, kinds, fc.integer({ min: 1, max: 40 })), {
          minLength: 1,
          maxLength: 12,
        }),
      }),
    ),
    ({ slots, hanging, others }) => {
      const tenants: Tenant[] = [
        ...hanging.map((arrivesAtMs, place) => {
          return { id: `h${place}`, arrivesAtMs, jobs: 3 * slots, durationMs: Infinity };
        }),
        ...others.map(([arrivesAtMs, durationMs, jobs], place) => {
          return { id: `o${place}`, arrivesAtMs, jobs, durationMs };
        }),
      ];
      const { waits, mostRunning, mostTenants } = play(slots, tenants, 20_000);
      expect(waits.size).toBe(tenants.length);
      // Places that hanging tenants leave go round among the others: each waits for a turn of each other at most.
      const turnMs = Math.max(slotTurnMs, ...others.map(([, durationMs]) => durationMs)) + 20;
      const rounds = 1 + Math.ceil(others.length / (slots - hanging.length));
      for (const waitMs of waits.values()) expect(waitMs).toBeLessThanOrEqual(turnMs * rounds);
      expect(mostTenants).toBeLessThanOrEqual(slots);
      expect(mostRunning).toBeLessThanOrEqual(2 * slots - 1);
    },
  );
  fc.assert(property, { numRuns: 60 });
});

test("two busy tenants get as many slots, one with slow jobs and one with quick ones", () => {
  const slots = new TenantSlots({ slots: 10, isShared: true });
  const queue = new LocalQueue(slots, new SuspectGate(), () => undefined);
  let id = 0;
  const fill = (): void => {
    for (let next = queue.take(0); next !== undefined; next = queue.take(0)) {
      slots.take(next.job.id, next.job.tenantId);
      queue.moveTenant(next.job.tenantId);
      if (next.job.tenantId === "quick") quick.push(next.job.id);
    }
  };
  const quick: string[] = [];
  for (let n = 0; n < 500; n += 1) {
    queue.add(jobOf((id += 1), "slow"), handler, true);
    queue.add(jobOf((id += 1), "quick"), handler, true);
  }
  fill();
  for (let turn = 0; turn < 300; turn += 1) {
    slots.free(quick.shift() ?? "");
    queue.moveTenant("quick");
    fill();
  }
  expect(slots.heldBy("slow")).toBe(slots.heldBy("quick"));
});

test("busy tenants get equal shares, and the last slot is for another", () => {
  const shares = (count: number, tenants: number): number[] => {
    const slots = new TenantSlots({ slots: count, isShared: true });
    const queue = new LocalQueue(slots, new SuspectGate(), () => undefined);
    const ids = Array.from({ length: tenants }, (_, tenant) => `t${tenant}`);
    for (let n = 0; n < count * tenants; n += 1) {
      queue.add(jobOf(n, ids[n % tenants] ?? ""), handler, true);
    }
    for (let next = queue.take(0); next !== undefined; next = queue.take(0)) {
      slots.take(next.job.id, next.job.tenantId);
      queue.moveTenant(next.job.tenantId);
    }
    return ids.map((id) => slots.heldBy(id)).filter((held) => held > 0);
  };
  // As the README has it.
  expect([1, 2, 3].map((tenants) => shares(2, tenants))).toEqual([[1], [1, 1], [1, 1]]);
  expect([1, 2, 3].map((tenants) => shares(3, tenants))).toEqual([[2], [1, 1], [1, 1, 1]]);
  expect([1, 2, 3].map((tenants) => shares(10, tenants))).toEqual([[7], [4, 4], [3, 3, 3]]);
});

test("tenants whose jobs are slow and who may start no more are stalled, and no others", () => {
  const slots = new TenantSlots({ slots: 4, isShared: true });
  for (const id of ["1", "2", "3"]) slots.take(id, "a");
  for (const id of ["1", "2", "3"]) slots.start(id, 0);
  expect(slots.room(0)).toEqual({ open: 1, hasBlocked: true });
  expect([...slots.stalledTenants(200, 200)]).toEqual([]);
  expect([...slots.stalledTenants(200, 201)]).toEqual(["a"]);
  slots.take("4", "b");
  slots.start("4", 150);
  expect([...slots.stalledTenants(200, 300)]).toEqual(["a"]);
  expect(slots.blockedTenants(300)).toEqual(["a", "b"]);
  // A place for a third tenant: the slots of the first count as one.
  expect(slots.room(1_000).open).toBe(0);
  expect(slots.room(1_001).open).toBe(1);
  slots.free("2");
  expect([...slots.stalledTenants(200, 2_000)].toSorted()).toEqual(["a", "b"]);
  slots.free("1");
  expect([...slots.stalledTenants(200, 2_000)]).toEqual([]);
});
