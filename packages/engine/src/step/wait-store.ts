import type { Expression } from "../expression/expression.ts";
import type { Run } from "../run/run.ts";
import type { Timer } from "../time/timer-queue.ts";

/** Something that a run waits for, or that would cancel it. */
export interface Wait {
  readonly kind: "event" | "signal" | "invoke" | "cancel";
  readonly run: Run;
  /** The waiting step; empty for a cancellation. */
  readonly stepId: string;
  readonly expiresAtMs: number;
  /** The event name waited for. */
  readonly eventName?: string;
  readonly condition?: Expression;
  readonly signal?: string;
  /** Tells the end of the invoked function from every other event. */
  readonly correlationId?: string;
  /** An event that must not satisfy the wait: the one that made it. */
  readonly exceptEventId?: string;
  readonly isRace: boolean;
  readonly batchKey: string | undefined;
  timer?: Timer;
}

/** The waits of all runs, found by what would end them. */
export interface WaitStore {
  add(wait: Wait): void;
  remove(wait: Wait): void;
  removeRun(run: Run): void;
  byEvent(eventName: string): Wait[];
  bySignal(signal: string): Wait | undefined;
  byCorrelation(correlationId: string): Wait | undefined;
  has(run: Run, stepId: string): boolean;
  clear(): void;
}

/** Creates a {@link WaitStore}. */
export function createWaitStore(): WaitStore {
  const events = new Map<string, Set<Wait>>();
  const signals = new Map<string, Wait>();
  const correlations = new Map<string, Wait>();
  const runs = new Map<string, Set<Wait>>();

  function addTo(index: Map<string, Set<Wait>>, key: string, wait: Wait): void {
    const known = index.get(key);
    if (known === undefined) index.set(key, new Set([wait]));
    else known.add(wait);
  }

  function dropFrom(index: Map<string, Set<Wait>>, key: string, wait: Wait): void {
    const known = index.get(key);
    known?.delete(wait);
    if (known?.size === 0) index.delete(key);
  }

  function remove(wait: Wait): void {
    wait.timer?.cancel();
    if (wait.eventName !== undefined) dropFrom(events, wait.eventName, wait);
    if (wait.signal !== undefined && signals.get(wait.signal) === wait) signals.delete(wait.signal);
    if (wait.correlationId !== undefined) correlations.delete(wait.correlationId);
    dropFrom(runs, wait.run.id, wait);
  }

  return {
    add(wait) {
      if (wait.eventName !== undefined) addTo(events, wait.eventName, wait);
      if (wait.signal !== undefined) signals.set(wait.signal, wait);
      if (wait.correlationId !== undefined) correlations.set(wait.correlationId, wait);
      addTo(runs, wait.run.id, wait);
    },
    remove,
    removeRun(run) {
      for (const wait of runs.get(run.id) ?? []) remove(wait);
    },
    byEvent: (eventName) => [...(events.get(eventName) ?? [])],
    bySignal: (signal) => signals.get(signal),
    byCorrelation: (correlationId) => correlations.get(correlationId),
    has: (run, stepId) =>
      [...(runs.get(run.id) ?? [])].some(
        (wait) => wait.kind !== "cancel" && wait.stepId === stepId,
      ),
    clear() {
      events.clear();
      signals.clear();
      correlations.clear();
      runs.clear();
    },
  };
}
