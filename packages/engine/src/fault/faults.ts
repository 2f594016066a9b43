import type { StoredEvent } from "../event/event-log.ts";
import type { Journal } from "../journal.ts";
import type { Job } from "../queue/job.ts";
import { parseDurationMs } from "../time/duration.ts";
import type { Random } from "../time/random.ts";
import type { TimerQueue } from "../time/timer-queue.ts";

/** A duration as text (`"5s"`) or in milliseconds. */
export type Duration = string | number;

/** Which calls a fault meets: by default every one. */
export interface CallFilter {
  /** The function's full id, `<app>-<function>`. */
  readonly function?: string;
  /** The step's name as its code gives it; meets requests that run that planned step. */
  readonly step?: string;
  /** How often the fault strikes; by default once. */
  readonly times?: number;
}

/** Faults that a test or the command line injects. Each strikes `times` and is then spent. */
export interface FaultControls {
  /** Delivers the next events twice. */
  duplicateEvents(options?: { readonly name?: string; readonly times?: number }): void;
  /** Holds each of the next events back for a random part of `within`, so that they overtake each other. */
  reorderEvents(options: { readonly within: Duration; readonly times?: number }): void;
  /** Lets the app answer, and loses the answer: the step ran, and the engine does not know. */
  dropAnswers(options?: CallFilter): void;
  /** Holds the next calls back before they reach the app. */
  delayCalls(options: CallFilter & { readonly by: Duration }): void;
  /** Sends the next calls to the app twice at once, as two workers would get them; the first answer counts. */
  callTwice(options?: CallFilter): void;
  /** Makes the event API answer an error for a while. */
  refuseEvents(options: { readonly for: Duration; readonly status?: number }): void;
  /** Ends all faults that are not spent. */
  clear(): void;
}

/** The faults as the engine consults them. */
export interface Faults extends FaultControls {
  deliverEvent(stored: StoredEvent, deliver: (stored: StoredEvent) => void): void;
  eventRefusal(): { readonly status: number; readonly reason: string } | undefined;
  /** What befalls the next request of a job. */
  strikeCall(job: Job): CallFate;
}

/** What faults do to one request. */
export interface CallFate {
  /** How long the request is held back, in milliseconds. */
  readonly delayMs: number;
  readonly isSentTwice: boolean;
  readonly isAnswerDropped: boolean;
}

const unharmed: CallFate = { delayMs: 0, isSentTwice: false, isAnswerDropped: false };

type CallFault = CallFilter & { readonly kind: "drop" | "delay" | "twice"; readonly byMs: number };

function toMs(duration: Duration): number {
  const ms = parseDurationMs(duration);
  if (ms === undefined)
    throw new TypeError(`${JSON.stringify(duration)} is no duration; write "5s".`);
  return ms;
}

/** Creates {@link Faults}. */
export function createFaults(deps: {
  timers: TimerQueue;
  now: () => number;
  random: Random;
  journal: Journal;
}): Faults {
  const { timers, now, random, journal } = deps;
  let duplicates: { name: string | undefined; left: number }[] = [];
  let reorders: { withinMs: number; left: number }[] = [];
  let calls: { fault: CallFault; left: number }[] = [];
  let refusal: { untilMs: number; status: number } | undefined;

  function strike(fault: string, fields: Record<string, unknown>): void {
    journal.record("warn", "fault.injected", { fault, ...fields });
  }

  function isMet(fault: CallFault, job: Job): boolean {
    if (fault.function !== undefined && fault.function !== job.run.fn.slug) return false;
    if (fault.step === undefined) return true;
    return job.stepId !== undefined && job.run.steps.get(job.stepId)?.name === fault.step;
  }

  function takeCallFaults(job: Job): CallFault[] {
    const met = calls.filter((entry) => isMet(entry.fault, job));
    for (const entry of met) entry.left -= 1;
    if (met.length > 0) calls = calls.filter((entry) => entry.left > 0);
    return met.map((entry) => entry.fault);
  }

  function addCall(kind: CallFault["kind"], options: CallFilter, byMs = 0): void {
    calls.push({ fault: { ...options, kind, byMs }, left: options.times ?? 1 });
  }

  return {
    duplicateEvents: (options = {}) =>
      void duplicates.push({ name: options.name, left: options.times ?? 1 }),
    reorderEvents: (options) =>
      void reorders.push({ withinMs: toMs(options.within), left: options.times ?? 2 }),
    dropAnswers: (options = {}) => addCall("drop", options),
    delayCalls: (options) => addCall("delay", options, toMs(options.by)),
    callTwice: (options = {}) => addCall("twice", options),
    refuseEvents(options) {
      refusal = { untilMs: now() + toMs(options.for), status: options.status ?? 503 };
    },
    clear() {
      duplicates = [];
      reorders = [];
      calls = [];
      refusal = undefined;
    },
    deliverEvent(stored, deliver) {
      const { name } = stored.event;
      const duplicate = duplicates.find((entry) => entry.name === undefined || entry.name === name);
      const deliverAll = () => {
        deliver(stored);
        if (duplicate === undefined) return;
        strike("duplicate event", { name });
        deliver(stored);
      };
      if (duplicate !== undefined) {
        duplicate.left -= 1;
        duplicates = duplicates.filter((entry) => entry.left > 0);
      }
      const reorder = reorders[0];
      if (reorder === undefined) {
        deliverAll();
        return;
      }
      reorder.left -= 1;
      reorders = reorders.filter((entry) => entry.left > 0);
      const heldMs = Math.floor(random() * reorder.withinMs);
      strike("reordered event", { name, heldMs });
      timers.at(now() + heldMs, deliverAll);
    },
    eventRefusal() {
      if (refusal === undefined || refusal.untilMs <= now()) return undefined;
      return { status: refusal.status, reason: "the event API refuses events (injected fault)" };
    },
    strikeCall(job) {
      if (calls.length === 0) return unharmed;
      const met = takeCallFaults(job);
      for (const fault of met) {
        strike(`${fault.kind} call`, { function: job.run.fn.slug, runId: job.run.id });
      }
      return {
        delayMs: met.reduce((sum, fault) => sum + fault.byMs, 0),
        isSentTwice: met.some((fault) => fault.kind === "twice"),
        isAnswerDropped: met.some((fault) => fault.kind === "drop"),
      };
    },
  };
}
