import { percentile } from "../report.ts";
import type { BenchQueue } from "./bench-queue.ts";
import type { Figure } from "./scenario.ts";

/** A queue whose claims are timed. */
export interface Subject {
  /** Begins the names of its figures. */
  readonly name: string;
  readonly queue: BenchQueue;
  readonly types: readonly string[];
}

/** How claims are timed. */
export interface Sampling {
  /** The sizes of the claims, one after another. */
  readonly limits: readonly number[];
  /** Claims of each queue, or for how many milliseconds. */
  readonly until: { readonly samples: number } | { readonly ms: number };
}

/** Milliseconds of each claim of a queue, and how many claims brought less than they asked for. */
export interface ClaimTimes {
  readonly times: readonly number[];
  readonly notFull: number;
}

/**
 * Claims from each queue in turn, and releases what was claimed: every claim meets the same work. The backlogs
 * have to fill every claim. Answers in the order of the subjects.
 */
export async function timeClaims(
  subjects: readonly Subject[],
  { limits, until }: Sampling,
): Promise<ClaimTimes[]> {
  const timed = subjects.map(() => ({ times: [] as number[], notFull: 0 }));
  const endsAtMs = "ms" in until ? performance.now() + until.ms : Number.POSITIVE_INFINITY;
  const samples = "samples" in until ? until.samples : Number.POSITIVE_INFINITY;
  for (let sample = 0; sample < samples && performance.now() < endsAtMs; sample += 1) {
    const limit = limits[sample % limits.length] ?? 100;
    for (const [index, { queue, types }] of subjects.entries()) {
      const startedAtMs = performance.now();
      const { jobs } = await queue.claim({ types, limit });
      const tookMs = performance.now() - startedAtMs;
      const of = timed[index];
      of?.times.push(tookMs);
      if (of !== undefined && jobs.length < limit) of.notFull += 1;
      if (jobs.length > 0) await queue.release(jobs);
    }
  }
  return timed;
}

/** As {@link timeClaims}, after as many claims as a tenth of the samples, which are left out. */
export async function timeWarmClaims(
  subjects: readonly Subject[],
  limits: readonly number[],
  samples: number,
): Promise<ClaimTimes[]> {
  await timeClaims(subjects, { limits, until: { samples: Math.ceil(samples / 10) } });
  return timeClaims(subjects, { limits, until: { samples } });
}

/** The figures of a queue's claims. */
export function toFigures(name: string, { times, notFull }: ClaimTimes): Figure[] {
  return [
    { name: `${name}: claim p50, ms`, value: percentile(times, 0.5) },
    { name: `${name}: claim p95, ms`, value: percentile(times, 0.95) },
    { name: `${name}: claims not full`, value: notFull },
  ];
}

/** One percentile of some claims by that of others. */
export function byThat(of: ClaimTimes, by: ClaimTimes, share: number): number {
  return percentile(of.times, share) / percentile(by.times, share);
}
