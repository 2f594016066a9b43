import type { Journal } from "../journal.ts";
import { parseDurationMs } from "../time/duration.ts";
import type { Random } from "../time/random.ts";
import type { TimerQueue } from "../time/timer-queue.ts";

/** A duration as text (`"5s"`) or in milliseconds. */
export type Duration = string | number;

/** Which calls a fault meets; by default every one. Conditions given together must all hold. */
export interface CallFilter {
  /** The function's full id, `<app>-<function>`; by default any function. */
  readonly function?: string;
  /** The step's name as its code gives it; by default any call. Meets requests that run that planned step. */
  readonly step?: string;
  /** How many calls the fault meets before it is spent; defaults to 1. */
  readonly times?: number;
}

/** Faults that a test or the command line injects. Each is spent after it was injected `times`. */
export interface FaultControls {
  /** Delivers the next events twice: `times` of them, 1 by default, of any `name` unless one is given. */
  duplicateEvents(options?: { readonly name?: string; readonly times?: number }): void;
  /** Delays the next `times` events, 2 by default, each by a random part of `within`, so that they overtake each other. */
  reorderEvents(options: { readonly within: Duration; readonly times?: number }): void;
  /** Lets the app respond, and loses the response: the step ran, and the engine does not know. */
  dropResponses(options?: CallFilter): void;
  /** Delays the next calls by `by` before they reach the app. */
  delayCalls(options: CallFilter & { readonly by: Duration }): void;
  /** Sends the next calls to the app twice at once, as two workers would get them; the first response counts. */
  callTwice(options?: CallFilter): void;
  /** Makes the event API respond with an error, `status` 503 by default, until `for` is over. */
  refuseEvents(options: { readonly for: Duration; readonly status?: number }): void;
  /** Ends all faults that are not spent. */
  clear(): void;
}

/** A call to an app, as far as faults tell calls apart. */
export interface FaultedCall {
  /** The function's full id, `<app>-<function>`. */
  readonly functionId: string;
  /** The name of the planned step that the call runs; `undefined` where it runs none. */
  readonly step: string | undefined;
  readonly runId: string;
}

/** The faults as the engine consults them. */
export interface Faults extends FaultControls {
  /** Calls `deliver` for an event of this name: once and now, or as the faults that meet it say. */
  deliverEvent(name: string, deliver: () => void): void;
  /** Why the event API refuses events now; `undefined` while it takes them. */
  eventRefusal(): { readonly status: number; readonly reason: string } | undefined;
  /** Returns what faults do to the next request, and counts each that meets it. */
  faultFor(call: FaultedCall): CallFault;
}

/** What faults do to one request. */
export interface CallFault {
  /** How long the request is delayed, in milliseconds. */
  readonly delayMs: number;
  readonly isSentTwice: boolean;
  readonly isResponseDropped: boolean;
}

const noFault: CallFault = { delayMs: 0, isSentTwice: false, isResponseDropped: false };

type CallRule = CallFilter & { readonly kind: "drop" | "delay" | "twice"; readonly byMs: number };

function toMs(duration: Duration): number {
  const ms = parseDurationMs(duration);
  if (ms === undefined)
    throw new TypeError(`${JSON.stringify(duration)} is no duration; write "5s".`);
  return ms;
}

function isMet(rule: CallRule, call: FaultedCall): boolean {
  if (rule.function !== undefined && rule.function !== call.functionId) return false;
  return rule.step === undefined || rule.step === call.step;
}

/** Creates {@link Faults} that delay by `timers` and record each injection in the journal. */
export function createFaults(deps: {
  timers: TimerQueue;
  now: () => number;
  random: Random;
  journal: Journal;
}): Faults {
  const { timers, now, random, journal } = deps;
  let duplicates: { name: string | undefined; left: number }[] = [];
  let reorders: { withinMs: number; left: number }[] = [];
  let rules: { rule: CallRule; left: number }[] = [];
  let refusal: { untilMs: number; status: number } | undefined;

  function recordInjection(fault: string, fields: Record<string, unknown>): void {
    journal.record("warn", "fault.injected", { fault, ...fields });
  }

  function takeRules(call: FaultedCall): CallRule[] {
    const met = rules.filter((entry) => isMet(entry.rule, call));
    for (const entry of met) entry.left -= 1;
    if (met.length > 0) rules = rules.filter((entry) => entry.left > 0);
    return met.map((entry) => entry.rule);
  }

  function addRule(kind: CallRule["kind"], options: CallFilter, byMs = 0): void {
    rules.push({ rule: { ...options, kind, byMs }, left: options.times ?? 1 });
  }

  return {
    duplicateEvents: (options = {}) =>
      void duplicates.push({ name: options.name, left: options.times ?? 1 }),
    reorderEvents: (options) =>
      void reorders.push({ withinMs: toMs(options.within), left: options.times ?? 2 }),
    dropResponses: (options = {}) => addRule("drop", options),
    delayCalls: (options) => addRule("delay", options, toMs(options.by)),
    callTwice: (options = {}) => addRule("twice", options),
    refuseEvents(options) {
      refusal = { untilMs: now() + toMs(options.for), status: options.status ?? 503 };
    },
    clear() {
      duplicates = [];
      reorders = [];
      rules = [];
      refusal = undefined;
    },
    deliverEvent(name, deliver) {
      const duplicate = duplicates.find((entry) => entry.name === undefined || entry.name === name);
      const deliverAll = () => {
        deliver();
        if (duplicate === undefined) return;
        recordInjection("duplicate event", { name });
        deliver();
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
      recordInjection("reordered event", { name, heldMs });
      timers.at(now() + heldMs, deliverAll);
    },
    eventRefusal() {
      if (refusal === undefined || refusal.untilMs <= now()) return undefined;
      return { status: refusal.status, reason: "the event API refuses events (injected fault)" };
    },
    faultFor(call) {
      if (rules.length === 0) return noFault;
      const met = takeRules(call);
      for (const rule of met) {
        recordInjection(`${rule.kind} call`, { function: call.functionId, runId: call.runId });
      }
      return {
        delayMs: met.reduce((sum, rule) => sum + rule.byMs, 0),
        isSentTwice: met.some((rule) => rule.kind === "twice"),
        isResponseDropped: met.some((rule) => rule.kind === "drop"),
      };
    },
  };
}
