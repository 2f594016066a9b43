/** The least time between two full scans, in milliseconds. */
const minMs = 200;

/** The most time between two full scans, in milliseconds: what appears below a watermark waits no longer. */
const maxMs = 5_000;

/** The part of the time that full scans may take, as long as `maxMs` allows. */
const maxShare = 0.02;

interface Watermark {
  readonly at: string;
  /** By `performance.now()`. */
  readonly untilMs: number;
}

/**
 * Low watermarks: times before which no job waits, or no lease ends, as a full scan saw it.
 *
 * Index entries of claimed jobs stay until Postgres removes them, which it cannot as long as any older transaction is
 * open. A scan that begins at the watermark passes none of them. A watermark is kept while batches are full, and is
 * never later than the moment of the scan that found it. What appears below it (a job that was released, or committed
 * late) waits until the next full scan. That comes after fifty times the time that the last one took, but at least
 * {@link minMs} and at most {@link maxMs}.
 */
export class ClaimWatermarks {
  readonly #watermarks = new Map<string, Watermark>();

  /** Returns the watermark under a key, or `undefined` when a full scan is due. */
  find(key: string): string | undefined {
    const watermark = this.#watermarks.get(key);
    if (watermark === undefined || performance.now() < watermark.untilMs) return watermark?.at;
    this.#watermarks.delete(key);
    return undefined;
  }

  /** Keeps what a full scan found, and for how long by the time that it took. `null`: the next scan is full too. */
  begin(key: string, at: string | null, tookMs: number): void {
    if (at === null) return void this.#watermarks.delete(key);
    const untilMs = performance.now() + Math.min(maxMs, Math.max(minMs, tookMs / maxShare));
    this.#watermarks.set(key, { at, untilMs });
  }

  /** Raises a watermark to what a scan that began there found. The next full scan comes no later for it. */
  raise(key: string, at: string | null): void {
    const watermark = this.#watermarks.get(key);
    if (watermark !== undefined && at !== null) this.#watermarks.set(key, { ...watermark, at });
  }

  /** Forgets all watermarks: something was put below them. */
  clear(): void {
    this.#watermarks.clear();
  }
}
