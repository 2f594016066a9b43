import { countStartable, mayStart, slotTurnMs, type SlotUse } from "./slot-sharing.ts";

interface TakenSlot {
  readonly tenantId: string;
  /** When its handler started; `undefined` until then. */
  startedAtMs: number | undefined;
}

const noTenants: ReadonlySet<string> = new Set();
const noCounts: ReadonlyMap<string, number> = new Map();

/** What a drain's free slots are good for. */
export interface SlotRoom {
  /** How many jobs can start at once, of whichever tenant they are that may start any. */
  readonly open: number;
  /** Whether some tenant with jobs running may start no more for now. */
  readonly hasBlocked: boolean;
}

/** The slots of a drain that are taken, and by which tenants: {@link mayStart} decides on it. */
export class TenantSlots {
  readonly #slots: number;
  readonly #isShared: boolean;
  /** By job, in the order in which they took their slots: about that of their starts. */
  readonly #taken = new Map<string, TakenSlot>();
  readonly #held = new Map<string, number>();
  /** How many tenants hold so many slots. */
  readonly #tenantsHolding = new Map<number, number>();
  /** No job has started before. */
  #oldestMs = Number.NEGATIVE_INFINITY;

  constructor({ slots, isShared }: { readonly slots: number; readonly isShared: boolean }) {
    this.#slots = slots;
    this.#isShared = isShared;
  }

  /** Slots that are taken. */
  get size(): number {
    return this.#taken.size;
  }

  /** How many slots a tenant holds. */
  heldBy(tenantId: string): number {
    return this.#held.get(tenantId) ?? 0;
  }

  take(jobId: string, tenantId: string): void {
    this.#taken.set(jobId, { tenantId, startedAtMs: undefined });
    this.#hold(tenantId, 1);
  }

  /** The job in a slot has started. */
  start(jobId: string, nowMs: number): void {
    const slot = this.#taken.get(jobId);
    if (slot !== undefined) slot.startedAtMs = nowMs;
  }

  free(jobId: string): void {
    const slot = this.#taken.get(jobId);
    if (slot === undefined) return;
    this.#taken.delete(jobId);
    this.#hold(slot.tenantId, -1);
  }

  /** Whether a tenant that holds so many slots may take another. If not, none that holds more may. */
  mayStart(held: number, nowMs: number): boolean {
    return mayStart(held, this.#use(nowMs));
  }

  room(nowMs: number): SlotRoom {
    const use = this.#use(nowMs);
    // The more a tenant holds, the less it may start.
    let most = 0;
    let hasBlocked = false;
    for (const held of this.#tenantsHolding.keys()) {
      if (!mayStart(held, use)) hasBlocked = true;
      else if (held > most) most = held;
    }
    return { open: countStartable(most, use), hasBlocked };
  }

  /** The tenants with jobs running that may start no more for now. */
  blockedTenants(nowMs: number): string[] {
    const use = this.#use(nowMs);
    return [...this.#held].filter(([, held]) => !mayStart(held, use)).map(([tenant]) => tenant);
  }

  /** The blocked tenants all of whose jobs have run for longer than that. */
  stalledTenants(ageMs: number, nowMs: number): ReadonlySet<string> {
    const slow = this.#countSlow(ageMs, nowMs);
    if (slow.size === 0) return noTenants;
    const use = this.#use(nowMs);
    const stalled = [...slow].filter(
      ([tenantId, count]) => count === this.heldBy(tenantId) && !mayStart(count, use),
    );
    return new Set(stalled.map(([tenantId]) => tenantId));
  }

  #use(nowMs: number): SlotUse {
    const [slots, running, isShared] = [this.#slots, this.#taken.size, this.#isShared];
    const surplus = isShared && running >= slots ? this.#countSurplus(nowMs) : 0;
    return { slots, running, surplus, isShared };
  }

  #countSurplus(nowMs: number): number {
    let surplus = 0;
    for (const [tenantId, slow] of this.#countSlow(slotTurnMs, nowMs)) {
      surplus += Math.min(slow, this.heldBy(tenantId) - 1);
    }
    return surplus;
  }

  /** How many jobs of each tenant have run for longer than that. */
  #countSlow(ageMs: number, nowMs: number): ReadonlyMap<string, number> {
    if (nowMs - this.#oldestMs <= ageMs) return noCounts;
    const slow = new Map<string, number>();
    this.#oldestMs = nowMs;
    for (const { tenantId, startedAtMs } of this.#taken.values()) {
      if (startedAtMs === undefined) continue;
      this.#oldestMs = Math.min(this.#oldestMs, startedAtMs);
      if (nowMs - startedAtMs <= ageMs) break;
      slow.set(tenantId, (slow.get(tenantId) ?? 0) + 1);
    }
    return slow;
  }

  #hold(tenantId: string, change: 1 | -1): void {
    const before = this.heldBy(tenantId);
    const after = before + change;
    if (before > 0) this.#count(before, -1);
    if (after > 0) {
      this.#count(after, 1);
      this.#held.set(tenantId, after);
    } else this.#held.delete(tenantId);
  }

  #count(held: number, change: 1 | -1): void {
    const tenants = (this.#tenantsHolding.get(held) ?? 0) + change;
    if (tenants > 0) this.#tenantsHolding.set(held, tenants);
    else this.#tenantsHolding.delete(held);
  }
}
