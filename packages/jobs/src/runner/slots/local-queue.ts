import type { ClaimedJob } from "@evenkeel/ledger";

import type { JobHandler } from "../../definition/job-handler.ts";
import { Fifo } from "./fifo.ts";
import type { SuspectGate } from "./suspect-gate.ts";
import type { TenantSlots } from "./tenant-slots.ts";

/** A claimed job that waits for a slot, or has one and waits for its start mark. */
export interface WaitingJob {
  readonly job: ClaimedJob;
  readonly handler: JobHandler;
  /** Whether its start is on record in the ledger, or is being put there. */
  mark: "none" | "asked" | "made";
  /** When it was put there, by the drain's clock. */
  markedAtMs?: number;
  /** Whether it still waits for a slot. */
  isWaiting: boolean;
}

/** A tenant's turn among those that hold as many slots. */
interface Turn {
  readonly tenant: TenantStock;
  /** The tenant holds more or fewer by now, or has nothing waiting. */
  isOver: boolean;
}

interface TenantStock {
  readonly jobs: Fifo<WaitingJob>;
  /** Those whose starts may be marked before they have slots. */
  readonly unmarked: Fifo<WaitingJob>;
  size: number;
  turn: Turn | undefined;
}

/**
 * The jobs of a drain that were claimed and wait for a slot. A tenant's own go in the order of their claims. Of the
 * tenants the one goes first that holds the fewest slots, and among equals the one whose turn is the longest ago: one
 * that may start none is in no other's way. Jobs that the next crash would make count as its cause wait for their turn
 * in the whole process besides, and go first when it comes.
 */
export class LocalQueue {
  readonly #slots: TenantSlots;
  readonly #gate: SuspectGate;
  readonly #onFree: () => void;
  /** All but the suspects, in the order of their claims. */
  readonly #ready = new Map<string, WaitingJob>();
  readonly #suspects = new Map<string, WaitingJob>();
  readonly #tenants = new Map<string, TenantStock>();
  /** The turns of tenants that have something waiting, by how many slots they hold. */
  readonly #turns = new Map<number, Fifo<Turn>>();
  #ahead = 0;

  constructor(slots: TenantSlots, gate: SuspectGate, onFree: () => void) {
    this.#slots = slots;
    this.#gate = gate;
    this.#onFree = onFree;
  }

  get size(): number {
    return this.#ready.size + this.#suspects.size;
  }

  /** How many wait for nothing but a slot. */
  get ready(): number {
    return this.#ready.size;
  }

  /** How many of those are marked as started, or about to be. */
  get ahead(): number {
    return this.#ahead;
  }

  /** @param mayMark Whether its start may be marked before it has a slot. */
  add(job: ClaimedJob, handler: JobHandler, mayMark: boolean): void {
    const isSuspect = job.crashes > 0 && job.crashes === handler.definition.maxCrashes - 1;
    const waiting: WaitingJob = { job, handler, mark: "none", isWaiting: true };
    if (isSuspect) {
      this.#suspects.set(job.id, waiting);
      return;
    }
    this.#ready.set(job.id, waiting);
    let tenant = this.#tenants.get(job.tenantId);
    if (tenant === undefined) {
      tenant = { jobs: new Fifo(), unmarked: new Fifo(), size: 0, turn: undefined };
      this.#tenants.set(job.tenantId, tenant);
      this.#giveTurn(job.tenantId, tenant);
    }
    tenant.jobs.push(waiting);
    tenant.size += 1;
    if (mayMark) tenant.unmarked.push(waiting);
  }

  /** Takes one out by its job's id. */
  delete(id: string): WaitingJob | undefined {
    const waiting = this.#ready.get(id) ?? this.#suspects.get(id);
    if (waiting === undefined) return undefined;
    waiting.isWaiting = false;
    if (this.#suspects.delete(id)) return waiting;
    this.#ready.delete(id);
    if (waiting.mark !== "none") this.#ahead -= 1;
    const { tenantId } = waiting.job;
    const tenant = this.#tenants.get(tenantId);
    if (tenant !== undefined) {
      tenant.size -= 1;
      if (tenant.size === 0) {
        if (tenant.turn !== undefined) tenant.turn.isOver = true;
        this.#tenants.delete(tenantId);
      }
    }
    return waiting;
  }

  /** Takes the next one out that may start. To be followed by {@link moveTenant}, as its tenant holds a slot more. */
  take(nowMs: number): WaitingJob | undefined {
    return this.#takeSuspect(nowMs) ?? this.#takeReady(nowMs);
  }

  /** The tenant holds more or fewer slots than before. */
  moveTenant(tenantId: string): void {
    const tenant = this.#tenants.get(tenantId);
    if (tenant !== undefined) this.#giveTurn(tenantId, tenant);
  }

  /**
   * The next jobs, in about the order in which they will start, whose starts may be marked now. They count as asked for.
   *
   * @param except Tenants whose jobs will not start soon.
   */
  markAhead(count: number, except: ReadonlySet<string>): WaitingJob[] {
    const marked: WaitingJob[] = [];
    const ranks = [...this.#turns.keys()].toSorted((a, b) => a - b);
    let turns = ranks.flatMap((held) => [...(this.#turns.get(held) ?? [])]);
    while (turns.length > 0) {
      const left: Turn[] = [];
      for (const turn of turns) {
        const next = turn.isOver ? undefined : nextUnmarked(turn.tenant);
        if (next === undefined || except.has(next.job.tenantId)) continue;
        if (marked.length === count) return marked;
        turn.tenant.unmarked.shift();
        next.mark = "asked";
        this.#ahead += 1;
        marked.push(next);
        left.push(turn);
      }
      turns = left;
    }
    return marked;
  }

  /** Takes out all that tenants have waiting, but for suspects. */
  takeTenants(tenants: ReadonlySet<string>): WaitingJob[] {
    return this.#takeOut([...this.#ready.values()].filter(({ job }) => tenants.has(job.tenantId)));
  }

  /** Takes out those that were claimed last, but for suspects. */
  takeNewest(count: number): WaitingJob[] {
    return count <= 0 ? [] : this.#takeOut([...this.#ready.values()].slice(-count));
  }

  /** Takes all of them out. */
  clear(): WaitingJob[] {
    this.#gate.forget(this.#onFree);
    return this.#takeOut([...this.#ready.values(), ...this.#suspects.values()]);
  }

  #takeOut(jobs: readonly WaitingJob[]): WaitingJob[] {
    return jobs.flatMap(({ job }) => this.delete(job.id) ?? []);
  }

  #takeSuspect(nowMs: number): WaitingJob | undefined {
    for (const { job } of this.#suspects.values()) {
      if (!this.#slots.mayStart(this.#slots.heldBy(job.tenantId), nowMs)) continue;
      return this.#gate.enter(job, this.#onFree) ? this.delete(job.id) : undefined;
    }
    return undefined;
  }

  #takeReady(nowMs: number): WaitingJob | undefined {
    let fewest = Number.POSITIVE_INFINITY;
    for (const [held, turns] of this.#turns) {
      while (turns.peek()?.isOver === true) turns.shift();
      if (turns.peek() === undefined) this.#turns.delete(held);
      else if (held < fewest) fewest = held;
    }
    const tenant = this.#turns.get(fewest)?.peek()?.tenant;
    if (tenant === undefined || !this.#slots.mayStart(fewest, nowMs)) return undefined;
    for (;;) {
      const next = tenant.jobs.shift();
      if (next === undefined) return undefined;
      if (next.isWaiting) return this.delete(next.job.id);
    }
  }

  #giveTurn(tenantId: string, tenant: TenantStock): void {
    if (tenant.turn !== undefined) tenant.turn.isOver = true;
    tenant.turn = { tenant, isOver: false };
    const held = this.#slots.heldBy(tenantId);
    const turns = this.#turns.get(held) ?? new Fifo();
    this.#turns.set(held, turns);
    turns.push(tenant.turn);
  }
}

function nextUnmarked({ unmarked }: TenantStock): WaitingJob | undefined {
  for (;;) {
    const next = unmarked.peek();
    if (next === undefined || (next.isWaiting && next.mark === "none")) return next;
    unmarked.shift();
  }
}
