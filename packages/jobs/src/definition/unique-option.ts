import { jobTransitions, type JobStatus, type Uniqueness } from "@evenkeel/ledger";

import { JobError } from "../job-error.ts";
import { maxDelayMs } from "./attempt-error.ts";

/**
 * What holds a unique key. A job that waits (`SCHEDULED`, `PENDING`) always holds its key, unless its worker died once too
 * often for it to start again; when it runs, one more may wait, unless `states` says otherwise.
 */
export interface UniqueScope {
  /**
   * In which other states a job holds its key: `RUNNING`, and with a `periodMs` those in which it has ended. None by
   * default; with a `periodMs`, `RUNNING` and `SUCCEEDED`.
   */
  readonly states?: readonly JobStatus[];
  /**
   * For how long after its enqueueing a job that runs or has ended holds its key, in milliseconds: 1 to 366 days. It
   * needs no history for that. A longer period than before counts for jobs that are enqueued from then on. Without it
   * a running job holds its key to its end, and one that has ended holds none.
   */
  readonly periodMs?: number;
  /**
   * What becomes of the job that waits under the key. `keep`, the default, leaves it as it is. `replace` gives it the new
   * payload, version, priority, due time, attempts and correlation id, under its own id. It then begins anew: attempts,
   * errors and what `effects` recorded are gone. A running job is not touched.
   */
  readonly onConflict?: "keep" | "replace";
  /**
   * Puts the waiting job off with each enqueue, with the newest payload: `onConflict: "replace"`, and not beside `runAt`
   * and `delayMs`. None by default.
   */
  readonly debounce?: Debounce;
}

/** How long a job waits for another enqueue under its key. */
export interface Debounce {
  /** How long after the last enqueue it is due, in milliseconds: 1 to 366 days. */
  readonly delayMs: number;
  /** How long after the first it is due at the latest, in milliseconds: `delayMs` to 366 days. */
  readonly maxMs: number;
}

/** The key of a payload, 1 to 400 characters: one text for all, or made of each; `undefined` means that it has none. */
export type UniqueKey<Payload> = string | ((payload: Payload) => string | undefined);

/** At most one waiting job per tenant, type and key, as {@link defineJob} takes it. */
export interface UniqueOptions<Payload> extends UniqueScope {
  /** The key; by default none, and then only a job that is enqueued with a key of its own is unique. */
  readonly key?: UniqueKey<Payload>;
}

/** At most one waiting job per tenant, type and key, as {@link enqueue} takes it. */
export interface JobUniqueOptions extends UniqueScope {
  /** The key, 1 to 400 characters; the definition's by default. */
  readonly key?: string;
}

/** What a definition says of unique keys. */
export interface UniqueRule<Payload = unknown> extends UniqueScope {
  /** A method, so that a registry of definitions takes a key of any payload. */
  key(payload: Payload): string | undefined;
}

type Code = "invalid_definition" | "invalid_options";

/** @throws JobError `invalid_definition` unless it is a key, a function, or options with them. */
export function readUniqueRule<Payload>(
  type: string,
  unique: UniqueKey<Payload> | UniqueOptions<Payload> | undefined,
): UniqueRule<Payload> | undefined {
  if (unique === undefined) return undefined;
  const { key, ...scope } = readOptions("invalid_definition", type, unique);
  if (key !== undefined && typeof key !== "function") checkKey("invalid_definition", type, key);
  checkScope("invalid_definition", type, scope);
  return Object.freeze({
    ...scope,
    key: (payload: Payload) => (typeof key === "function" ? key(payload) : key),
  });
}

/** One job's key, and its scope as the ledger takes it. */
export interface ResolvedUnique {
  readonly uniqueKey: string;
  readonly uniqueness: Uniqueness;
  /** The delay of a debounced job. */
  readonly delayMs?: number;
}

/**
 * The key and the scope of one job: each field of its own, or else the definition's.
 *
 * @throws JobError `invalid_options` on what is out of range.
 */
export function resolveUnique<Payload>(
  type: string,
  rule: UniqueRule<Payload> | undefined,
  unique: string | JobUniqueOptions | undefined,
  payload: Payload,
): ResolvedUnique | undefined {
  const own = unique === undefined ? {} : readOptions("invalid_options", type, unique);
  const { key: ownKey, ...ownScope } = own;
  const key = ownKey ?? rule?.key(payload);
  const { debounce: ruleDebounce, ...ruleScope } = rule ?? {};
  // A job that is to keep the other is not debounced, whatever its definition says.
  const isDebounced = ruleDebounce !== undefined && ownScope.onConflict !== "keep";
  const scope: UniqueScope = {
    ...ruleScope,
    ...(isDebounced && { debounce: ruleDebounce }),
    ...ownScope,
  };
  checkScope("invalid_options", type, scope);
  if (key === undefined) return undefined;
  checkKey("invalid_options", type, key);
  const { states, periodMs, onConflict, debounce } = scope;
  return {
    uniqueKey: key,
    uniqueness: {
      ...(states && { states }),
      ...(periodMs !== undefined && { periodMs }),
      ...((onConflict === "replace" || debounce) && { onConflict: "replace" }),
      ...(debounce && { maxDelayMs: debounce.maxMs }),
    },
    ...(debounce && { delayMs: debounce.delayMs }),
  };
}

/** The long form of what callers without types may have written in any. */
function readOptions<Key>(
  code: Code,
  type: string,
  unique: Key | (UniqueScope & { readonly key?: Key }),
): UniqueScope & { readonly key?: Key } {
  if (!isLongForm(unique)) {
    if (typeof unique === "string" || typeof unique === "function") return { key: unique };
    throw refusal(code, type, `is a key, or an object with ${optionNames.join(", ")}`);
  }
  const other = Object.keys(unique).find((name) => !optionNames.includes(name));
  if (other === undefined) return unique;
  throw refusal(code, type, `has no option ${other}; it takes ${optionNames.join(", ")}`);
}

const optionNames = ["key", "states", "periodMs", "onConflict", "debounce"];

function isLongForm<Key>(
  unique: Key | (UniqueScope & { readonly key?: Key }),
): unique is UniqueScope & { readonly key?: Key } {
  return typeof unique === "object" && unique !== null;
}

function checkKey(code: Code, type: string, key: unknown): void {
  const isText = typeof key === "string" && key.isWellFormed() && !key.includes("\u0000");
  if (isText && key.length >= 1 && key.length <= 400) return;
  throw refusal(code, type, "takes a key of 1 to 400 characters without NUL");
}

function checkScope(code: Code, type: string, scope: UniqueScope): void {
  const problem = findProblem(scope) ?? findDebounceProblem(scope);
  if (problem !== undefined) throw refusal(code, type, problem);
}

function findProblem({ states, periodMs, onConflict }: UniqueScope): string | undefined {
  if (states?.some((state) => !Object.hasOwn(jobTransitions, state)) === true) {
    return `takes the states ${Object.keys(jobTransitions).join(", ")}`;
  }
  if (periodMs !== undefined && !isDuration(periodMs)) {
    return `takes a periodMs from 1 to ${maxDelayMs}`;
  }
  const ended = states?.find((state) => jobTransitions[state].length === 0);
  if (ended !== undefined && periodMs === undefined) {
    return `needs a periodMs beside the state ${ended}: for how long a job that has ended holds its key`;
  }
  return onConflict === undefined || ["keep", "replace"].includes(onConflict)
    ? undefined
    : `takes onConflict "keep" or "replace"`;
}

function findDebounceProblem({ onConflict, debounce }: UniqueScope): string | undefined {
  if (debounce === undefined) return undefined;
  if (onConflict === "keep") return `takes no debounce beside onConflict "keep"`;
  const { delayMs, maxMs } = debounce;
  return isDuration(delayMs) && isDuration(maxMs) && maxMs >= delayMs
    ? undefined
    : `takes a debounce with a delayMs from 1, and a maxMs from that to ${maxDelayMs}`;
}

function isDuration(ms: number): boolean {
  return ms >= 1 && ms <= maxDelayMs;
}

function refusal(code: Code, type: string, problem: string): JobError {
  return new JobError(code, `The unique of job ${type} ${problem}.`, { field: "unique", type });
}
