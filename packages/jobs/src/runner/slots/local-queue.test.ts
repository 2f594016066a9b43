import type { ClaimedJob } from "@evenkeel/ledger";
import fc from "fast-check";
import { expect, test } from "vitest";

import { handleJob } from "../../definition/job-handler.ts";
import { countJob } from "../../testing/count-job.ts";
import { LocalQueue, type WaitingJob } from "./local-queue.ts";
import { SuspectGate } from "./suspect-gate.ts";
import { TenantSlots } from "./tenant-slots.ts";

const handler = handleJob(countJob, async () => {});

function jobOf(id: number, tenantId: string, change: Partial<ClaimedJob> = {}): ClaimedJob {
  const fields = { type: "count", version: 1, payload: { n: id }, priority: 0, attempt: 1 };
  const rest = { maxAttempts: 3, crashes: 0, fence: "1", runAt: new Date(0), errors: [] };
  return { id: String(id), tenantId, ...fields, ...rest, correlationId: null, ...change };
}

type Step =
  | { readonly kind: "add"; readonly tenant: number; readonly mayMark: boolean }
  | { readonly kind: "take"; readonly awaitsMarks: boolean }
  | { readonly kind: "made" | "forget" | "end" | "delete" | "newest"; readonly pick: number }
  | { readonly kind: "mark"; readonly count: number; readonly except: number };

const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("add" as const), tenant: fc.nat(4), mayMark: fc.boolean() }),
  fc.record({ kind: fc.constant("take" as const), awaitsMarks: fc.boolean() }),
  fc.record({
    kind: fc.constantFrom("made", "forget", "end", "delete", "newest"),
    pick: fc.nat(9),
  }),
  fc.record({ kind: fc.constant("mark" as const), count: fc.nat(6), except: fc.nat(4) }),
);

/** A queue beside a plain model of it, and what was found to differ. */
class Scenario {
  readonly faults: string[] = [];
  readonly #slots: TenantSlots;
  readonly #queue: LocalQueue;
  readonly #waiting = new Map<string, { readonly tenantId: string; mayMark: boolean }>();
  /** Those whose marks are asked for, or were. */
  readonly #asked = new Map<string, WaitingJob>();
  /** Those that are not marked, and may be. */
  readonly #unmarked = new Set<string>();
  /** Those that were marked while they waited, in that order. */
  readonly #made: { readonly id: string; readonly waiting: WaitingJob; readonly atMs: number }[] =
    [];
  #nowMs = 0;
  readonly #running = new Map<string, string>();
  #lastId = 0;

  constructor(count: number, isShared: boolean) {
    this.#slots = new TenantSlots({ slots: count, isShared });
    this.#queue = new LocalQueue(this.#slots, new SuspectGate(), () => undefined);
  }

  play(step: Step): void {
    if (step.kind === "add") this.#add(`t${step.tenant}`, step.mayMark);
    else if (step.kind === "take") this.#take(step.awaitsMarks);
    else if (step.kind === "made") this.#note(step.pick);
    else if (step.kind === "forget") this.#forget(step.pick);
    else if (step.kind === "mark") this.#mark(step.count, new Set([`t${step.except}`]));
    else if (step.kind === "end") this.#end(step.pick);
    else this.#takeOut(step.kind, step.pick);
    this.#check(this.#queue.size === this.#waiting.size, "size");
  }

  clear(): void {
    const left = this.#queue.clear().map(({ job }) => job.id);
    this.#check(left.join() === [...this.#waiting.keys()].join(), "order of what is left");
    this.#check(this.#queue.size === 0 && this.#queue.ahead === 0, "counts at the end");
  }

  #add(tenantId: string, mayMark: boolean): void {
    this.#lastId += 1;
    this.#queue.add(jobOf(this.#lastId, tenantId), handler, mayMark);
    this.#waiting.set(String(this.#lastId), { tenantId, mayMark });
    if (mayMark) this.#unmarked.add(String(this.#lastId));
  }

  #take(awaitsMarks: boolean): void {
    const next = this.#queue.take(0, awaitsMarks);
    const firsts = new Map<string, string>();
    for (const [id, { tenantId }] of this.#waiting) {
      if (!firsts.has(tenantId)) firsts.set(tenantId, id);
    }
    const startable = [...firsts]
      .filter(([, id]) => !awaitsMarks || !this.#unmarked.has(id))
      .map(([tenantId]) => this.#slots.heldBy(tenantId))
      .filter((held) => this.#slots.mayStart(held, 0));
    this.#check((next === undefined) === (startable.length === 0), "whether one may start");
    if (next === undefined) return;
    const { id, tenantId } = next.job;
    this.#check(firsts.get(tenantId) === id, "order of a tenant");
    this.#check(this.#slots.heldBy(tenantId) === Math.min(...startable), "order of tenants");
    this.#waiting.delete(id);
    this.#running.set(id, tenantId);
    this.#slots.take(id, tenantId);
    this.#queue.moveTenant(tenantId);
  }

  #mark(count: number, except: ReadonlySet<string>): void {
    const marked = this.#queue.markAhead(count, except);
    this.#check(marked.length <= count, "number of marks");
    for (const { job, mark } of marked) {
      const known = this.#waiting.get(job.id);
      this.#check(known?.mayMark === true && mark === "asked", "what may be marked");
      this.#check(!except.has(job.tenantId), "whose may not be marked");
      if (known !== undefined) known.mayMark = false;
    }
    for (const waiting of marked) this.#asked.set(waiting.job.id, waiting);
  }

  #note(pick: number): void {
    const [id, waiting] = [...this.#asked][pick] ?? [];
    if (id === undefined || waiting === undefined) return;
    this.#asked.delete(id);
    this.#nowMs += 1;
    this.#queue.noteMark(waiting, this.#nowMs);
    this.#unmarked.delete(id);
    if (waiting.isWaiting) this.#made.push({ id, waiting, atMs: this.#nowMs });
  }

  #forget(agoMs: number): void {
    const beforeMs = this.#nowMs - agoMs;
    this.#queue.forgetMarks(beforeMs);
    while ((this.#made[0]?.atMs ?? beforeMs) < beforeMs) {
      const [forgotten] = this.#made.splice(0, 1);
      const known = this.#waiting.get(forgotten?.id ?? "");
      if (forgotten === undefined || known === undefined) continue;
      known.mayMark = true;
      this.#unmarked.add(forgotten.id);
      this.#check(forgotten.waiting.mark === "none", "what is forgotten");
    }
  }

  #end(pick: number): void {
    const [id, tenantId] = [...this.#running][pick] ?? [];
    if (id === undefined || tenantId === undefined) return;
    this.#running.delete(id);
    this.#slots.free(id);
    this.#queue.moveTenant(tenantId);
  }

  #takeOut(kind: "delete" | "newest", pick: number): void {
    const ids = [...this.#waiting.keys()];
    const expected = kind === "delete" ? ids.slice(0, 1) : ids.slice(-1 - pick);
    const taken =
      kind === "delete" ? [this.#queue.delete(ids[0] ?? "")] : this.#queue.takeNewest(1 + pick);
    this.#check(taken.flatMap((one) => one?.job.id ?? []).join() === expected.join(), kind);
    for (const id of expected) this.#waiting.delete(id);
  }

  #check(isSo: boolean, what: string): void {
    if (!isSo) this.faults.push(what);
  }
}

test("whatever is added, marked, ended or taken out: a tenant's jobs start in their order, and none is lost", () => {
  const slots = fc.integer({ min: 1, max: 6 });
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 120 }), slots, fc.boolean(), (played, ...given) => {
      const scenario = new Scenario(...given);
      for (const step of played) scenario.play(step);
      scenario.clear();
      expect(scenario.faults).toEqual([]);
    }),
    { numRuns: 300 },
  );
});

test("a suspect waits for its turn in the process, goes first then, and not while its tenant may start none", () => {
  const gate = new SuspectGate();
  const slots = new TenantSlots({ slots: 4, isShared: true });
  const queue = new LocalQueue(slots, gate, () => undefined);
  const suspect = { crashes: 2 };
  const inside = jobOf(9, "z", suspect);
  expect(gate.enter(inside, () => undefined)).toBe(true);
  queue.add(jobOf(1, "a"), handler, true);
  queue.add(jobOf(2, "a", suspect), handler, false);
  queue.add(jobOf(3, "b", suspect), handler, false);
  const take = (): string | undefined => {
    const next = queue.take(0);
    if (next === undefined) return undefined;
    slots.take(next.job.id, next.job.tenantId);
    queue.moveTenant(next.job.tenantId);
    return next.job.id;
  };
  expect([take(), take()]).toEqual(["1", undefined]);
  for (const id of ["x", "y"]) slots.take(id, "a");
  gate.leave(inside);
  // The last slot is for a tenant with nothing running.
  expect([take(), take()]).toEqual(["3", undefined]);
  expect(queue.size).toBe(1);
});

test("which jobs come next is known without looking at those that were taken", () => {
  const slots = new TenantSlots({ slots: 1_000, isShared: false });
  const queue = new LocalQueue(slots, new SuspectGate(), () => undefined);
  const tenants = 2_000;
  for (let n = 0; n < 50_000; n += 1) queue.add(jobOf(n, `t${n % tenants}`), handler, true);
  const order: number[] = [];
  for (let next = queue.take(0); next !== undefined; next = queue.take(0)) {
    const { id, tenantId } = next.job;
    order.push(Number(id));
    slots.take(id, tenantId);
    queue.moveTenant(tenantId);
    slots.free(id);
    queue.moveTenant(tenantId);
  }
  // In the order of the claims, as all tenants hold as many slots.
  expect(order).toEqual(Array.from({ length: 50_000 }, (_, n) => n));
});
