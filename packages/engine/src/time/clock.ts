/** The engine's source of time. Make one with {@link realClock} or {@link virtualClock}. */
export interface Clock {
  /** Whether time stands still until `engine.advance` moves it. */
  readonly isVirtual: boolean;
  /** The present, in milliseconds since the epoch. */
  now(): number;
  /**
   * The engine's time for a timestamp that an app stamped with the machine's clock. On a virtual
   * clock a stamp of this moment means the virtual present; every other stamp is kept.
   */
  adopt(timestampMs: number): number;
  /** Calls back once when `atMs` has come; the returned function cancels it. Virtual time never calls. */
  wake(atMs: number, callback: () => void): () => void;
  /** Moves a virtual clock; a real one cannot be moved. */
  moveTo(atMs: number): void;
}

const longestTimeoutMs = 2_147_483_647;

/** The machine's clock. Its timers do not keep a process alive. */
export function realClock(): Clock {
  return {
    isVirtual: false,
    now: () => Date.now(),
    adopt: (timestampMs) => timestampMs,
    wake(atMs, callback) {
      const delayMs = Math.min(Math.max(atMs - Date.now(), 0), longestTimeoutMs);
      const timer = setTimeout(callback, delayMs);
      timer.unref();
      return () => clearTimeout(timer);
    },
    moveTo() {
      throw new Error("Real time cannot be moved; create the engine with clock: virtualClock().");
    },
  };
}

/** Options of {@link virtualClock}. */
export interface VirtualClockOptions {
  /** Where time starts: milliseconds or an ISO time; by default 2026-01-01T00:00:00Z. */
  readonly start?: number | string;
  /** Reads the machine's clock, to recognise the stamps that an SDK puts on events; by default `Date.now`. */
  readonly machineNow?: () => number;
}

/** How far a stamp may lie from the machine's present to count as "this moment". */
const stampToleranceMs = 120_000;

/** A clock that stands still until `engine.advance` or `engine.advanceTo` moves it. */
export function virtualClock(options: VirtualClockOptions = {}): Clock {
  const start = options.start ?? "2026-01-01T00:00:00Z";
  const machineNow = options.machineNow ?? (() => Date.now());
  let nowMs = typeof start === "number" ? start : Date.parse(start);
  if (!Number.isFinite(nowMs)) {
    throw new TypeError(
      `virtualClock start ${JSON.stringify(start)} is no time; give an ISO time.`,
    );
  }
  return {
    isVirtual: true,
    now: () => nowMs,
    adopt: (timestampMs) =>
      Math.abs(timestampMs - machineNow()) <= stampToleranceMs ? nowMs : timestampMs,
    wake: () => () => {},
    moveTo(atMs) {
      nowMs = Math.max(nowMs, atMs);
    },
  };
}
