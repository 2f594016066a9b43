import type { Clock } from "./clock.ts";
import { createHeap } from "./heap.ts";

/** A task that waits for its time. */
export interface Timer {
  readonly atMs: number;
  cancel(): void;
}

interface Entry extends Timer {
  readonly order: number;
  readonly run: () => void;
  isCancelled: boolean;
}

/** The engine's one list of future work, ordered by time and then by the order of asking. */
export interface TimerQueue {
  /** Runs a task when `atMs` has come; a time already past comes at once, in its turn. */
  at(atMs: number, run: () => void): Timer;
  /** When the earliest waiting task is due. */
  nextAtMs(): number | undefined;
  /** Runs the earliest task if it is due; says whether one ran. */
  runDue(): boolean;
  /** Forgets every task. */
  clear(): void;
}

function noWake(): void {}

/** Cancelled tasks that may pile up before they are swept out. */
const sweepThreshold = 1_000;

/**
 * Keyed by (time, sequence). On a real clock it keeps one wake-up for its head and then calls `onDue`;
 * on a virtual clock the engine pulls.
 */
export function createTimerQueue(deps: { clock: Clock; onDue: () => void }): TimerQueue {
  const { clock, onDue } = deps;
  const heap = createHeap<Entry>(
    (a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order),
  );
  let order = 0;
  let cancelled = 0;
  let wakeAtMs = Number.POSITIVE_INFINITY;
  let stopWake: () => void = noWake;

  function peek(): Entry | undefined {
    let head = heap.peek();
    while (head?.isCancelled === true) {
      heap.pop();
      cancelled -= 1;
      head = heap.peek();
    }
    return head;
  }

  function armWake(): void {
    if (clock.isVirtual) return;
    const headAtMs = peek()?.atMs ?? Number.POSITIVE_INFINITY;
    if (headAtMs === wakeAtMs) return;
    stopWake();
    wakeAtMs = headAtMs;
    if (headAtMs === Number.POSITIVE_INFINITY) return;
    stopWake = clock.wake(headAtMs, () => {
      wakeAtMs = Number.POSITIVE_INFINITY;
      onDue();
      armWake();
    });
  }

  return {
    at(atMs, run) {
      const entry: Entry = {
        atMs,
        order: order++,
        run,
        isCancelled: false,
        cancel() {
          if (entry.isCancelled) return;
          entry.isCancelled = true;
          cancelled += 1;
          if (cancelled < sweepThreshold || cancelled < heap.size / 2) return;
          heap.retain((each) => !each.isCancelled);
          cancelled = 0;
        },
      };
      heap.push(entry);
      if (atMs < wakeAtMs) armWake();
      return entry;
    },
    nextAtMs: () => peek()?.atMs,
    runDue() {
      const head = peek();
      if (head === undefined || head.atMs > clock.now()) return false;
      heap.pop();
      head.isCancelled = true;
      head.run();
      return true;
    },
    clear() {
      heap.retain(() => false);
      cancelled = 0;
      stopWake();
      wakeAtMs = Number.POSITIVE_INFINITY;
    },
  };
}
