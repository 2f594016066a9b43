/** The verdict of a {@link Gcra}: let through, or when to ask again. */
export type Admission =
  | { readonly isAllowed: true }
  | { readonly isAllowed: false; readonly retryAtMs: number };

/** A limit as the generic cell rate algorithm takes it. */
export interface Pace {
  readonly limit: number;
  readonly periodMs: number;
  /** Extra admissions that may come at once. */
  readonly burst: number;
}

/** The generic cell rate algorithm per key: the steady pace of the real server's rate limits and throttles. */
export interface Gcra {
  /** Takes one admission for a key when there is one. */
  admit(key: string, pace: Pace, nowMs: number): Admission;
  clear(): void;
}

/**
 * Creates a {@link Gcra}. A limit of 10 per minute with a burst of 1 admits two at once and then one
 * every six seconds: a pace, not a window that fills and empties.
 */
export function createGcra(): Gcra {
  const arrivals = new Map<string, number>();
  let admissions = 0;

  function dropPast(nowMs: number): void {
    for (const [key, arrivalMs] of arrivals) if (arrivalMs <= nowMs) arrivals.delete(key);
  }

  return {
    admit(key, pace, nowMs) {
      const emissionMs = pace.periodMs / Math.max(pace.limit, 1);
      const nextArrivalMs = Math.max(arrivals.get(key) ?? nowMs, nowMs) + emissionMs;
      const allowedAtMs = nextArrivalMs - emissionMs * (pace.burst + 1);
      if (allowedAtMs > nowMs) return { isAllowed: false, retryAtMs: Math.ceil(allowedAtMs) };
      arrivals.set(key, nextArrivalMs);
      admissions += 1;
      if (admissions % 4_096 === 0) dropPast(nowMs);
      return { isAllowed: true };
    },
    clear: () => arrivals.clear(),
  };
}
