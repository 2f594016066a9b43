import { monotonicFactory } from "ulid";

/** A source of numbers in [0, 1). */
export type Random = () => number;

/** A small, fast generator (mulberry32): one seed, one sequence. Not for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d_2b_79_f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Makes ULIDs that sort in the order of making. */
export function createIdSource(deps: { now: () => number; random: Random }): () => string {
  const next = monotonicFactory(deps.random);
  return () => next(deps.now());
}
