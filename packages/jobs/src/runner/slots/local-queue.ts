import type { ClaimedJob } from "@evenkeel/ledger";

import type { JobHandler } from "../../definition/job-handler.ts";
import { Fifo } from "./fifo.ts";
import type { SuspectGate } from "./suspect-gate.ts";
import type { TenantSlots } from "./tenant-slots.ts";

/** A claimed job that waits for a slot, or has one and waits for its start mark. */
export interface WaitingJob {
  readonly job: ClaimedJob;
  readonly handler: JobHandler;
  /** Whether its start may be put on record before it has a slot. */
  readonly mayMark: boolean;
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
  /** Whether the tenant's next job is still to be marked. */
  readonly isUnmarked: boolean;
  /** The tenant holds more or fewer by now, has nothing waiting, or another job next. */
  isOver: boolean;
}

/** The turns of tenants that have something waiting, by how many slots they hold. */
type Turns = Map<number, Fifo<Turn>>;

interface TenantStock {
  readonly jobs: Fifo<WaitingJob>;
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
  /** The turns of tenants whose next job is marked, or is not to be before it has a slot. */
  readonly #turns: Turns = new Map();
  /** The turns of those whose next job is still to be marked. */
  readonly #unmarkedTurns: Turns = new Map();
  /** Those that were marked before they had slots, in the order of their marks. */
  readonly #marks = new Fifo<WaitingJob>();
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
    const waiting: WaitingJob = { job, handler, mayMark, mark: "none", isWaiting: true };
    if (isSuspect) {
      this.#suspects.set(job.id, waiting);
      return;
    }
    this.#ready.set(job.id, waiting);
    let tenant = this.#tenants.get(job.tenantId);
    if (tenant === undefined) {
      tenant = { jobs: new Fifo(), size: 0, turn: undefined };
      this.#tenants.set(job.tenantId, tenant);
    }
    tenant.jobs.push(waiting);
    tenant.size += 1;
    if (tenant.size === 1) this.#giveTurn(job.tenantId, tenant);
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
      } else this.#checkTurn(tenantId, tenant);
    }
    return waiting;
  }

  /**
   * Takes the next one out that may start. To be followed by {@link moveTenant}, as its tenant holds a slot more.
   *
   * @param awaitsMarks Whether those that are still to be marked wait until they are, and take no slot before; by default not.
   */
  take(nowMs: number, awaitsMarks = false): WaitingJob | undefined {
    return this.#takeSuspect(nowMs) ?? this.#takeReady(nowMs, awaitsMarks);
  }

  /** The start of one that waits is on record. */
  noteMark(waiting: WaitingJob, nowMs: number): void {
    waiting.mark = "made";
    waiting.markedAtMs = nowMs;
    if (!waiting.isWaiting) return;
    this.#marks.push(waiting);
    this.#noteChange(waiting);
  }

  /** Those that wait and were marked before a time count as unmarked again. */
  forgetMarks(beforeMs: number): void {
    for (;;) {
      const waiting = this.#marks.peek();
      if (waiting === undefined || (waiting.markedAtMs ?? 0) >= beforeMs) return;
      this.#marks.shift();
      if (!waiting.isWaiting) continue;
      waiting.mark = "none";
      this.#ahead -= 1;
      this.#noteChange(waiting);
    }
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
    const ranks = new Set([...this.#turns.keys(), ...this.#unmarkedTurns.keys()]);
    let tenants = [...ranks]
      .toSorted((a, b) => a - b)
      .flatMap((held) => [
        ...(this.#unmarkedTurns.get(held) ?? []),
        ...(this.#turns.get(held) ?? []),
      ])
      .filter(({ isOver }) => !isOver)
      .map(({ tenant }) => findUnmarked(tenant, except));
    while (tenants.length > 0) {
      const left: typeof tenants = [];
      for (const unmarked of tenants) {
        if (marked.length === count) return marked;
        const next = unmarked.next();
        if (next.done === true) continue;
        next.value.mark = "asked";
        this.#ahead += 1;
        marked.push(next.value);
        left.push(unmarked);
      }
      tenants = left;
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

  #takeReady(nowMs: number, awaitsMarks: boolean): WaitingJob | undefined {
    const marked = firstOf(this.#turns);
    const unmarked = awaitsMarks ? undefined : firstOf(this.#unmarkedTurns);
    const first =
      marked === undefined || (unmarked !== undefined && unmarked.held < marked.held)
        ? unmarked
        : marked;
    if (first === undefined || !this.#slots.mayStart(first.held, nowMs)) return undefined;
    const next = nextWaiting(first.tenant);
    return next === undefined ? undefined : this.delete(next.job.id);
  }

  /** A job was marked, or is no longer. */
  #noteChange({ job: { tenantId } }: WaitingJob): void {
    const tenant = this.#tenants.get(tenantId);
    if (tenant !== undefined) this.#checkTurn(tenantId, tenant);
  }

  /** Gives a tenant another turn if its next job is another one, or is marked by now. */
  #checkTurn(tenantId: string, tenant: TenantStock): void {
    if (tenant.turn?.isUnmarked !== isUnmarked(tenant)) this.#giveTurn(tenantId, tenant);
  }

  #giveTurn(tenantId: string, tenant: TenantStock): void {
    if (tenant.turn !== undefined) tenant.turn.isOver = true;
    tenant.turn = { tenant, isUnmarked: isUnmarked(tenant), isOver: false };
    const all = tenant.turn.isUnmarked ? this.#unmarkedTurns : this.#turns;
    const held = this.#slots.heldBy(tenantId);
    const turns = all.get(held) ?? new Fifo();
    all.set(held, turns);
    turns.push(tenant.turn);
  }
}

/** The tenant that holds the fewest slots, and of these the one whose turn is the longest ago. */
function firstOf(all: Turns): { readonly held: number; readonly tenant: TenantStock } | undefined {
  let fewest = Number.POSITIVE_INFINITY;
  for (const [held, turns] of all) {
    while (turns.peek()?.isOver === true) turns.shift();
    if (turns.peek() === undefined) all.delete(held);
    else if (held < fewest) fewest = held;
  }
  const tenant = all.get(fewest)?.peek()?.tenant;
  return tenant === undefined ? undefined : { held: fewest, tenant };
}

/** A tenant's next job. */
function nextWaiting({ jobs }: TenantStock): WaitingJob | undefined {
  while (jobs.peek()?.isWaiting === false) jobs.shift();
  return jobs.peek();
}

function isUnmarked(tenant: TenantStock): boolean {
  const next = nextWaiting(tenant);
  return next !== undefined && next.mayMark && next.mark !== "made";
}

/** A tenant's jobs that may be marked and are not yet, in their order. */
function* findUnmarked({ jobs }: TenantStock, except: ReadonlySet<string>): Generator<WaitingJob> {
  for (const waiting of jobs) {
    if (except.has(waiting.job.tenantId)) return;
    if (waiting.isWaiting && waiting.mayMark && waiting.mark === "none") yield waiting;
  }
}
