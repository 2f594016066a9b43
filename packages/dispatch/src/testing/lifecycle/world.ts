import { cancelJob, defineJob, enqueue, exponential, handleJob } from "@evenkeel/jobs";
import { createPruner, type Ledger } from "@evenkeel/ledger";
import type { MovableClock } from "@evenkeel/test-postgres/movable-clock";
import type { TestDatabase } from "@evenkeel/test-postgres/testing";
import { expect } from "vitest";
import { z } from "zod";

import { createDispatcher } from "../../dispatcher/dispatcher.ts";
import { createOutboxRelay } from "../../maintenance/outbox-relay.ts";
import { createReconciler } from "../../maintenance/reconciler.ts";
import { createRedriver } from "../../maintenance/redriver.ts";
import type { CrashPoint } from "./crash-points.ts";
import { Host, type FrozenHost } from "./host.ts";
import { InngestDouble, type ArrivedEvent } from "./inngest-double.ts";
import { LedgerModel } from "./ledger-model.ts";
import { count, mirrorLedger, type MirroredLedger, type MirrorState } from "./mirrored-ledger.ts";
import { checkChanges } from "./observed-changes.ts";
import { settings } from "./settings.ts";
import { readState, stateOf } from "./state.ts";
import { workWindow, type JobManner } from "./worker.ts";

const payload = z.object({
  job: z.number(),
  manner: z.enum(["succeeds", "fails once", "is hopeless", "has one attempt"]),
});
const retry = exponential({ maxAttempts: 5 });
const modelJob = defineJob({ type: "model.job", version: 1, payload, retry });
const singleRetry = exponential({ maxAttempts: 1 });
const singleJob = defineJob({ type: "model.single", version: 1, payload, retry: singleRetry });
/** It never dies: what becomes of a dead job's key is another test's. */
const keyedRetry = exponential({ maxAttempts: 100 });
const keyedJob = defineJob({ type: "model.keyed", version: 1, payload, retry: keyedRetry });
const definitions = [modelJob, singleJob, keyedJob];
const keyedTenant = "even";
const minuteMs = 60_000;

/** A caller's transaction with an enqueue under the key: it met a job that waits, or made one. */
interface OpenTransaction {
  readonly end: (how: "COMMIT" | "ROLLBACK") => Promise<void>;
  readonly job: number;
  readonly isMet: boolean;
}

/** Everything that a sequence of commands acts on: hosts over one ledger, its model beside it, and Inngest. */
export class World {
  readonly clock: MovableClock;
  readonly inngest: InngestDouble;
  readonly state: MirrorState;
  /** Jobs whose effect took place. */
  readonly effects: Set<number> = new Set();
  /** Jobs of one attempt. */
  readonly singles: Set<number> = new Set();
  /** How often the handler of each job started. */
  readonly handled: Map<number, number> = new Map();
  /** For each job that an enqueue met under its key, how often it had started when that was committed. */
  readonly met: Map<number, number> = new Map();
  #transaction: OpenTransaction | undefined;
  #frozen: (FrozenHost & { readonly since: number })[] = [];
  #hosts = 0;
  #jobs = 0;
  readonly #firstMinute: number;
  readonly #pool: TestDatabase["pool"];

  constructor(ledger: Ledger, clock: MovableClock, pool: TestDatabase["pool"]) {
    this.clock = clock;
    this.#pool = pool;
    const now = (): number => clock.now();
    this.inngest = new InngestDouble(now);
    this.state = {
      ledger,
      model: new LedgerModel(now),
      mismatches: [],
      queued: new Map(),
      ended: new Map(),
      started: new Map(),
    };
    this.#firstMinute = Math.floor(now() / minuteMs) * minuteMs;
  }

  get model(): LedgerModel {
    return this.state.model;
  }

  /** When the tick of a window is meant to be. */
  scheduledAt(window: number): number {
    return this.#firstMinute - window * minuteMs;
  }

  async tick(scheduledAt: number, diesAt?: CrashPoint): Promise<void> {
    await this.#onHost(diesAt, (host, ledger) =>
      this.#dispatcher(host, ledger).dispatch({
        schedule: "model",
        scheduledAt: new Date(scheduledAt),
        source: "model",
      }),
    );
  }

  /** A tick of now that sends what is due, and nothing where nothing is. */
  async tickIfDue(diesAt?: CrashPoint): Promise<void> {
    await this.#onHost(diesAt, (host, ledger) =>
      this.#dispatcher(host, ledger).dispatch({
        schedule: "model",
        scheduledAt: new Date(this.clock.now()),
        source: "model",
        onlyIfDue: true,
      }),
    );
  }

  async reconcile(diesAt?: CrashPoint): Promise<void> {
    await this.#onHost(diesAt, (host, ledger) =>
      createReconciler({
        ledger,
        dispatcher: this.#dispatcher(host, ledger),
        owner: host.name,
        neverStartedAfterMs: settings.neverStartedAfterMs,
        staleAfterMs: settings.staleAfterMs,
        maxAgeMs: settings.latenessMs,
      }).run(),
    );
  }

  /** Starts or continues a run of an event, on another worker each time. */
  async work({ id, dispatchKey }: ArrivedEvent, nth: number, diesAt?: CrashPoint): Promise<void> {
    const run = {
      runId: `${id}#${nth}`,
      dispatchKey,
      types: definitions.map(({ type }) => type),
      effects: this.effects,
      onStart: (job: number) => count(this.handled, job),
    };
    await this.#onHost(diesAt, (host, ledger) => workWindow(ledger, host, run));
  }

  /** Inngest gives a run up: the dead-letter function ends it, whoever works at it. */
  async failRun(runId: string): Promise<void> {
    const dispatchKey = this.model.runs.get(runId)?.dispatchKey ?? "";
    const eventId = runId.slice(0, runId.lastIndexOf("#"));
    await this.#onHost(undefined, async (_host, ledger) => {
      const functionId = "model";
      await ledger.runs.finish({ runId, functionId, status: "FAILED", error: "It was given up." });
      await ledger.deadLetters.file({
        kind: "RUN",
        sourceId: runId,
        name: functionId,
        reason: "exhausted",
        error: "It was given up.",
        payload: { id: eventId, name: "background/process.requested", data: { dispatchKey } },
      });
    });
  }

  async enqueue(manner: JobManner, isCommitted: boolean, delayMs: number): Promise<void> {
    const job = this.#jobs++;
    const client = await this.#pool.connect();
    try {
      await client.query("BEGIN");
      await enqueue(client, manner === "has one attempt" ? singleJob : modelJob, {
        tenantId: job % 2 === 0 ? "even" : "odd",
        payload: { job, manner },
        delayMs,
      });
      await client.query(isCommitted ? "COMMIT" : "ROLLBACK");
    } finally {
      client.release();
    }
    if (!isCommitted) return;
    this.model.addJob(job, delayMs);
    if (manner === "has one attempt") this.singles.add(job);
    count(this.state.queued, job);
  }

  hasOpenTransaction(): boolean {
    return this.#transaction !== undefined;
  }

  /** Enqueues under the unique key, in a transaction that stays open. */
  async enqueueUnderKey(): Promise<void> {
    const expected = this.model.waitingHolder();
    const job = expected ?? this.#jobs++;
    const client = await this.#pool.connect();
    const end = async (how: string): Promise<void> => {
      await client.query(how);
      client.release();
    };
    this.#transaction = { end, job, isMet: expected !== undefined };
    await client.query("BEGIN");
    const inserted = await enqueue(client, keyedJob, {
      tenantId: keyedTenant,
      payload: { job, manner: "succeeds" },
      unique: "k",
    });
    expect(inserted.created).toBe(expected === undefined);
    if (expected === undefined) return;
    this.model.locked = expected;
    expect(inserted.id).toBe(await this.#idOf(expected));
  }

  /** Ends the transaction that is open, if one is. */
  async endTransaction(isCommitted: boolean): Promise<void> {
    if (this.#transaction === undefined) return;
    const { end, job, isMet } = this.#transaction;
    this.#transaction = undefined;
    this.model.locked = undefined;
    await end(isCommitted ? "COMMIT" : "ROLLBACK");
    if (!isCommitted) return;
    if (isMet) {
      this.met.set(job, this.state.started.get(job) ?? 0);
      return;
    }
    this.model.addJob(job);
    this.model.keyHolder = job;
    count(this.state.queued, job);
  }

  /** The jobs that can be cancelled without a wait for a transaction. */
  cancellable(): number[] {
    return [...this.model.jobs.keys()].filter((job) => job !== this.model.locked);
  }

  /** Cancels a job that waits or runs. */
  async cancel(job: number): Promise<void> {
    const id = await this.#idOf(job);
    const { rows } = await this.#pool.query<{ tenant: string }>(
      `SELECT tenant_id AS tenant FROM evenkeel.background_job WHERE id = $1`,
      [id],
    );
    const status = this.model.cancelJob(job, id);
    const answer = await cancelJob(this.#pool, { tenantId: rows[0]?.tenant ?? "", id });
    expect(answer).toEqual({ cancelled: true, id, status });
    count(this.state.ended, job);
    this.met.delete(job);
  }

  async #idOf(job: number): Promise<string> {
    const { rows } = await this.#pool.query<{ id: string }>(
      `SELECT id::text FROM evenkeel.background_job WHERE (payload ->> 'job')::int = $1`,
      [job],
    );
    return rows[0]?.id ?? "";
  }

  async redrive(diesAt?: CrashPoint): Promise<void> {
    const handlers = definitions.map((definition) => handleJob(definition, async () => {}));
    await this.#onHost(diesAt, (_host, ledger) =>
      createRedriver({ ledger, handlers }).redrive({
        actor: "operator",
        filter: {},
        perSecond: 1_000_000,
      }),
    );
  }

  async prune(diesAt?: CrashPoint): Promise<void> {
    const kept = settings.keptDays;
    await this.#onHost(diesAt, (_host, ledger) =>
      createPruner({
        ledger,
        policy: {
          windows: { ENQUEUED: kept },
          guards: { TAKEN: kept },
          runs: {
            SUCCEEDED: kept,
            FAILED: kept,
            CANCELLED: kept,
            SKIPPED_DUPLICATE: kept,
            STALE: kept,
          },
          jobHistory: { SUCCEEDED: kept, DEAD: kept, CANCELLED: kept },
          deadLetters: { REQUEUED: kept },
          outbox: { SENT: kept },
        },
      }).run(),
    );
  }

  /** The outbox's relay sends what redrives put there. */
  async relay(): Promise<void> {
    await createOutboxRelay({
      ledger: this.state.ledger,
      send: async (events) => this.inngest.send(events),
      owner: "relay",
    }).run();
    for (const event of this.model.outbox) {
      if (event.status === "PENDING") {
        Object.assign(event, { status: "SENT", settledAt: this.clock.now() });
      }
    }
  }

  hasFrozenHost(): boolean {
    return this.#frozen.length > 0;
  }

  /** The host that froze first continues where it stood; after a day nothing of it is left to do so. */
  async comeBack(): Promise<void> {
    const frozen = this.#frozen.shift();
    if (frozen === undefined || frozen.since <= this.clock.now() - settings.latenessMs) return;
    frozen.host.comeBack();
    await frozen.ended;
    this.#check();
  }

  /** The ledger's tables hold what the model does, and came to it as the transition tables say. */
  async compare(): Promise<void> {
    await checkChanges(this.#pool);
    expect(await readState(this.#pool)).toEqual(stateOf(this.model));
  }

  async #onHost(
    diesAt: CrashPoint | undefined,
    work: (host: Host, ledger: MirroredLedger) => Promise<unknown>,
  ): Promise<void> {
    const host = new Host(`host-${this.#hosts++}`, diesAt);
    const frozen = await host.run(() => work(host, mirrorLedger(this.state, host)));
    if (frozen !== undefined) this.#frozen.push({ ...frozen, since: this.clock.now() });
    this.#check();
  }

  #check(): void {
    if (this.state.mismatches.length > 0) throw this.state.mismatches[0];
  }

  #dispatcher(host: Host, ledger: MirroredLedger): ReturnType<typeof createDispatcher> {
    const never = 2_000_000_000;
    return createDispatcher({
      ledger,
      send: async (events) => {
        await host.reached("claimedNotSent");
        await host.reached("repairClaimedNotSent");
        this.inngest.send(events);
        await host.reached("sentNotRecorded");
        await host.reached("repairSentNotRecorded");
      },
      config: {
        useInngest: { enabled: true, because: "model" },
        windowSeconds: 60,
      },
      environment: "model",
      owner: host.name,
      clock: { now: () => new Date(this.clock.now()) },
      leaseMs: settings.dispatchLeaseMs,
      // A frozen host stays frozen until it comes back.
      sendTimeoutMs: never,
      ledgerTimeoutMs: never,
    });
  }
}
