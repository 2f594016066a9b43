/**
 * How much a bench does. `quick` is for a comparison on one machine. `smoke` does just so much of everything that it is
 * seen to work and its exact bars hold: its times say nothing.
 */
export type BenchSize = "full" | "quick" | "smoke";
