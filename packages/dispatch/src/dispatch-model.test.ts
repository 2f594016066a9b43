import { randomUUID } from "node:crypto";

import { createLedger, type Ledger } from "@evenkeel/ledger";
import { createTestDatabase, type TestDatabase } from "@evenkeel/postgres/testing";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import { createDispatcher, type Dispatcher, type OutgoingEvent } from "./dispatcher.ts";
import type { Receipt } from "./receipt.ts";
import { createReconciler, type Reconciler } from "./reconciler.ts";

let database: TestDatabase;
let ledger: Ledger;
beforeAll(async () => {
  database = await createTestDatabase();
  ledger = createLedger({ pool: database.pool });
});
afterAll(async () => {
  await ledger.close();
  await database.drop();
});

/** Where a dispatching host can die, and what else can become of a send. */
const fates = ["sent", "send fails", "dies after the claim", "dies after the send"] as const;
type Fate = (typeof fates)[number];

/** What the model knows of one window. */
interface ModelWindow {
  status: "absent" | "failed" | "leased" | "lapsed" | "enqueued";
  /** Claims so far: a host that comes back holds an older one. */
  claims: number;
  duplicates: number;
  failures: number;
  /** Whether its events have reached Inngest. */
  delivered: boolean;
}

type Model = ModelWindow[];

/** A host that hangs in its send, as one that died or was frozen. */
interface Hanging {
  readonly index: number;
  readonly claim: number;
  readonly receipt: Promise<Receipt>;
  comeBack(): void;
}

/** Dispatchers and the reconciler over the real ledger, with an Inngest that remembers event ids. */
class RealSystem {
  readonly schedule: string = `model-${randomUUID()}`;
  readonly delivered = new Map<string, number>();
  readonly hanging: Hanging[] = [];
  fate: Fate = "sent";
  readonly dispatcher: Dispatcher;
  readonly reconciler: Reconciler;
  #comeBack: (() => void) | undefined;

  constructor() {
    this.dispatcher = createDispatcher({
      ledger,
      send: (events) => this.#send(events),
      config: {
        useInngest: { enabled: true, because: "model" },
        forceInline: false,
        windowSeconds: 60,
      },
      environment: "model",
      owner: "host",
      // A hanging host hangs until the model brings it back.
      sendTimeoutMs: 2_000_000_000,
    });
    this.reconciler = createReconciler({
      ledger,
      dispatcher: this.dispatcher,
      owner: "reconciler",
    });
  }

  /** Fixed for the sequence, which may run across a minute's edge. */
  readonly #minute: number = Math.floor(Date.now() / 60_000) * 60_000;

  scheduledAt(index: number): Date {
    return new Date(this.#minute - (index + 1) * 60_000);
  }

  tick(index: number): Promise<Receipt> {
    const scheduledAt = this.scheduledAt(index);
    return this.dispatcher.dispatch({ schedule: this.schedule, scheduledAt, source: "model" });
  }

  /** Starts a tick whose host hangs in its send, and waits until it does. */
  async hang(index: number, claim: number): Promise<void> {
    const entered = Promise.withResolvers<undefined>();
    this.#entered = entered.resolve;
    const receipt = this.tick(index);
    await Promise.race([entered.promise, receipt]);
    const comeBack = this.#comeBack ?? (() => {});
    this.hanging.push({ index, claim, receipt, comeBack });
  }

  #entered: ((value: undefined) => void) | undefined;

  async #send(events: readonly OutgoingEvent[]): Promise<void> {
    if (this.fate === "send fails") throw new Error("unreachable");
    const { fate } = this;
    const deliver = (): void => {
      for (const { id } of events) this.delivered.set(id, (this.delivered.get(id) ?? 0) + 1);
    };
    if (fate !== "dies after the claim") deliver();
    if (fate === "sent") return;
    const back = Promise.withResolvers<undefined>();
    this.#comeBack = () => back.resolve(undefined);
    this.#entered?.(undefined);
    await back.promise;
    // A host that was only frozen goes on where it stood.
    if (fate === "dies after the claim") deliver();
  }
}

const isClaimable = ({ status }: ModelWindow): boolean =>
  status === "absent" || status === "failed" || status === "lapsed";

class Tick implements fc.AsyncCommand<Model, RealSystem> {
  readonly index: number;
  readonly fate: Fate;
  constructor(index: number, fate: Fate) {
    this.index = index;
    this.fate = fate;
  }
  check(): boolean {
    return true;
  }
  async run(model: Model, real: RealSystem): Promise<void> {
    const window = model[this.index]!;
    real.fate = this.fate;
    if (!isClaimable(window)) {
      expect((await real.tick(this.index)).mode).toBe("dispatch-duplicate-suppressed");
      window.duplicates += 1;
      return;
    }
    window.claims += 1;
    if (this.fate === "sent") {
      expect(await real.tick(this.index)).toMatchObject({ mode: "dispatch-only", tracking: true });
      Object.assign(window, { status: "enqueued", delivered: true });
    } else if (this.fate === "send fails") {
      expect((await real.tick(this.index)).mode).toBe("dispatch-failed");
      window.status = "failed";
      window.failures += 1;
    } else {
      await real.hang(this.index, window.claims);
      window.status = "leased";
      window.delivered ||= this.fate === "dies after the send";
    }
  }
  toString(): string {
    return `tick of window ${this.index}: ${this.fate}`;
  }
}

class LeasesLapse implements fc.AsyncCommand<Model, RealSystem> {
  check(): boolean {
    return true;
  }
  async run(model: Model, real: RealSystem): Promise<void> {
    await database.pool.query(
      `UPDATE "evenkeel"."background_dispatch_window" SET "lease_expires_at" = now() - interval '1 second'
       WHERE "schedule" = $1 AND "status" = 'DISPATCHING'`,
      [real.schedule],
    );
    for (const window of model) if (window.status === "leased") window.status = "lapsed";
  }
  toString(): string {
    return "leases lapse";
  }
}

class HostComesBack implements fc.AsyncCommand<Model, RealSystem> {
  check(): boolean {
    return true;
  }
  async run(model: Model, real: RealSystem): Promise<void> {
    const host = real.hanging.shift();
    if (host === undefined) return;
    host.comeBack();
    const { tracking } = await host.receipt;
    const window = model[host.index]!;
    window.delivered = true;
    // Its write counts as long as nobody has claimed the window since.
    const holds = window.claims === host.claim && window.status !== "enqueued";
    expect(tracking).toBe(holds);
    if (holds) window.status = "enqueued";
  }
  toString(): string {
    return "a hanging host comes back";
  }
}

class Reconcile implements fc.AsyncCommand<Model, RealSystem> {
  readonly fate: "sent" | "send fails";
  constructor(fate: "sent" | "send fails") {
    this.fate = fate;
  }
  check(): boolean {
    return true;
  }
  async run(model: Model, real: RealSystem): Promise<void> {
    real.fate = this.fate;
    await real.reconciler.run();
    for (const window of model) {
      if (window.status !== "failed" && window.status !== "lapsed") continue;
      window.claims += 1;
      if (this.fate === "sent") Object.assign(window, { status: "enqueued", delivered: true });
      else {
        window.status = "failed";
        window.failures += 1;
      }
    }
  }
  toString(): string {
    return `reconcile: ${this.fate}`;
  }
}

const statusOf = {
  absent: undefined,
  failed: "ENQUEUE_FAILED",
  leased: "DISPATCHING",
  lapsed: "DISPATCHING",
  enqueued: "ENQUEUED",
} as const;

async function compare(model: Model, real: RealSystem): Promise<void> {
  const { rows } = await database.pool.query<Record<string, unknown>>(
    `SELECT extract(epoch FROM "window_start")::int AS "start", "status", "claim_count", "duplicate_count",
       "failure_count"
     FROM "evenkeel"."background_dispatch_window" WHERE "schedule" = $1`,
    [real.schedule],
  );
  for (const [index, window] of model.entries()) {
    const row = rows.find(({ start }) => start === real.scheduledAt(index).getTime() / 1_000);
    expect(row?.["status"]).toBe(statusOf[window.status]);
    expect(row?.["claim_count"] ?? 0).toBe(window.claims);
    expect(row?.["duplicate_count"] ?? 0).toBe(window.duplicates);
    expect(row?.["failure_count"] ?? 0).toBe(window.failures);
  }
}

const windows = 3;
const commands = fc.commands(
  [
    fc
      .tuple(fc.nat({ max: windows - 1 }), fc.constantFrom(...fates))
      .map(([index, fate]) => new Tick(index, fate)),
    fc.constant(new LeasesLapse()),
    fc.constant(new HostComesBack()),
    fc.constantFrom("sent" as const, "send fails" as const).map((fate) => new Reconcile(fate)),
  ],
  { maxCommands: 12 },
);

test("over any order of ticks, failed sends, deaths and repairs the ledger does what the model says", async () => {
  await fc.assert(
    fc.asyncProperty(commands, async (sequence) => {
      const model: Model = Array.from({ length: windows }, () => ({
        status: "absent",
        claims: 0,
        duplicates: 0,
        failures: 0,
        delivered: false,
      }));
      const real = new RealSystem();
      await fc.asyncModelRun(() => ({ model, real }), sequence);
      await compare(model, real);
      // Everyone comes back, every lease lapses, and the reconciler has the last word.
      while (real.hanging.length > 0) await new HostComesBack().run(model, real);
      await new LeasesLapse().run(model, real);
      await new Reconcile("sent").run(model, real);
      await compare(model, real);
      const asked = model.filter(({ status }) => status !== "absent");
      expect(asked.every(({ status, delivered }) => status === "enqueued" && delivered)).toBe(true);
      // P1: two events per window under two ids, however often they were sent.
      expect(real.delivered.size).toBe(asked.length * 2);
    }),
    { numRuns: 2_000 },
  );
});
