/** The least time between two full looks, in milliseconds. */
const minMs = 200;

/** The most time between two full looks, in milliseconds: what appears below a watermark waits no longer. */
const maxMs = 5_000;

/** The part of the time that full looks may take, as long as `maxMs` allows. */
const maxShare = 0.02;

/** A full look that took so long, and a fiftieth of a millisecond more per job, passes what is no longer there. */
const slowMs = 10;

interface Watermark {
  readonly at: string;
  /** By `performance.now()`. */
  readonly untilMs: number;
}

/**
 * Low watermarks: times before which no available job has its turn, as a full look saw it.
 *
 * Index entries of claimed jobs stay until Postgres removes them, which it cannot as long as any older transaction is
 * open. A claim that begins at the watermark passes none of them. A watermark is kept while batches are full and full
 * looks are slow, two in a row: elsewhere it would gain nothing. It is never later than the moment of the look that found
 * it. What appears below it (an urgent job, or one committed late) waits until the next full look. That comes after
 * fifty times the time that the last one took, but at least {@link minMs} and at most {@link maxMs}.
 */
export class ClaimWatermarks {
  readonly #watermarks = new Map<string, Watermark>();
  readonly #slow = new Set<string>();

  /** Returns the watermark under a key, or `undefined` when a full look is due. */
  find(key: string): string | undefined {
    const watermark = this.#watermarks.get(key);
    if (watermark === undefined || performance.now() < watermark.untilMs) return watermark?.at;
    this.#watermarks.delete(key);
    return undefined;
  }

  /**
   * Keeps what a full look found, for how long by the time that it took for so many jobs. `null`, or a quick look: the
   * next is full too.
   */
  begin(key: string, at: string | null, tookMs: number, jobs: number): void {
    this.#watermarks.delete(key);
    const wasSlow = this.#slow.delete(key);
    if (at === null || tookMs < slowMs + jobs / 50) return;
    this.#slow.add(key);
    if (!wasSlow) return;
    const untilMs = performance.now() + Math.min(maxMs, Math.max(minMs, tookMs / maxShare));
    this.#watermarks.set(key, { at, untilMs });
  }

  /** Raises a watermark to what a claim that began there found. The next full look comes no later for it. */
  raise(key: string, at: string | null): void {
    const watermark = this.#watermarks.get(key);
    if (watermark !== undefined && at !== null) this.#watermarks.set(key, { ...watermark, at });
  }

  /** Lowers all watermarks to the turn of a job that has become available. */
  lower(at: string): void {
    for (const [key, watermark] of this.#watermarks) {
      if (Date.parse(at) < Date.parse(watermark.at))
        this.#watermarks.set(key, { ...watermark, at });
    }
  }

  /** Forgets all watermarks: something was put below them. */
  clear(): void {
    this.#watermarks.clear();
  }
}
