/** How long claims go without a look at all there is, in milliseconds, at least. */
const shortestMs = 200;

/** No more than this part of the time is spent with looks at all there is, as long as `longestMs` allows. */
const share = 0.02;

/** How long at most, however slow the looks are: what appears below a watermark waits no longer. */
const longestMs = 5_000;

interface Watermark {
  readonly at: string;
  readonly untilMs: number;
}

/**
 * The times before which nothing waits, as seen a moment ago. Index entries of jobs that were claimed stay where
 * they are until Postgres clears them away, which it cannot as long as any transaction is older: a scan that begins
 * at the watermark passes none of them. It is kept while batches are full, and is never later than the moment of the
 * look. What appears below it (a job given back, or committed late) waits until the next look at all there is: fifty
 * times as long as such a look takes, a fifth of a second at least and five seconds at most.
 */
export class ClaimWatermarks {
  readonly #watermarks = new Map<string, Watermark>();

  /** The watermark under a key, while it is good. */
  find(key: string): string | undefined {
    const watermark = this.#watermarks.get(key);
    if (watermark === undefined || performance.now() < watermark.untilMs) return watermark?.at;
    this.#watermarks.delete(key);
    return undefined;
  }

  /** Notes what a look at all there is found, and how long it took. */
  begin(key: string, at: string | null, tookMs: number): void {
    if (at === null) return void this.#watermarks.delete(key);
    const untilMs = performance.now() + Math.min(longestMs, Math.max(shortestMs, tookMs / share));
    this.#watermarks.set(key, { at, untilMs });
  }

  /** Notes what a look from the watermark on found: it rises, and is good for no longer. */
  raise(key: string, at: string | null): void {
    const watermark = this.#watermarks.get(key);
    if (watermark !== undefined && at !== null) this.#watermarks.set(key, { ...watermark, at });
  }

  /** Forgets them all: something was put below. */
  clear(): void {
    this.#watermarks.clear();
  }
}
