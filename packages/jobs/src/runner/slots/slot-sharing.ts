/*
 * Which tenant may take a slot. Tenants share a drain's slots as the ports of a switch share its buffers: by a dynamic
 * threshold. Whatever a tenant runs may hang, and nobody knows before it does.
 */

/**
 * A tenant with jobs running starts another only while it runs fewer than so many times the free slots. Alone it takes
 * two thirds of them; two busy tenants take two fifths each. 1 would leave a tenant alone only half.
 */
const freeSlotsFactor = 2;

/** A slot's turn, in milliseconds: the jobs of a tenant that have run for longer count as one for all other tenants. */
export const slotTurnMs = 1_000;

/** How the slots of a drain are used, as of one moment. */
export interface SlotUse {
  /** The drain's `concurrency`. */
  readonly slots: number;
  /** Slots that are taken. May be more than there are, by {@link surplus}. */
  readonly running: number;
  /** Slots taken beyond one per tenant, by jobs that have run for longer than {@link slotTurnMs}. */
  readonly surplus: number;
  /** Whether several tenants share them. `false`: any tenant may take any free slot. */
  readonly isShared: boolean;
}

/**
 * Returns whether a tenant with so many jobs running may start another. Pure.
 *
 * A tenant with nothing running may take any free slot, and the place of the surplus: so no slot need be free for it
 * where others hold theirs for long. One slot for each of `slots` tenants is thus always to be had within a slot's turn,
 * and at most `slots - 1` jobs run beyond `slots`. A bound without them would allow no tenant a second job: each could
 * hang, and so fill the slot of a tenant that comes later.
 */
export function mayStart(held: number, use: SlotUse): boolean {
  const free = use.slots - use.running;
  if (!use.isShared) return free > 0;
  if (held === 0) return free + use.surplus > 0;
  // The last free slot is for a tenant with nothing running.
  return free > 1 && held < freeSlotsFactor * free;
}

/** Returns how many jobs a tenant with so many running may start, one after the other, if no other starts any. Pure. */
export function countStartable(held: number, use: SlotUse): number {
  const free = use.slots - use.running;
  if (!use.isShared) return Math.max(0, free);
  if (!mayStart(held, use)) return 0;
  if (held === 0) return 1 + countStartable(1, { ...use, running: use.running + 1 });
  return Math.min(free - 1, Math.ceil((freeSlotsFactor * free - held) / (freeSlotsFactor + 1)));
}
