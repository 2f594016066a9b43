import { jobTransitions, type JobStatus } from "@evenkeel/ledger";

import { JobError } from "../job-error.ts";
import { maxDelayMs } from "./attempt-error.ts";

/** How long a job holds its unique key. */
export interface UniqueScope {
  /**
   * The states in which a job holds its key; `PENDING` and `RUNNING` by default. A job that has ended holds it for as
   * long as the history keeps the job, unless `periodMs` is shorter.
   */
  readonly states?: readonly JobStatus[];
  /**
   * How long after it was enqueued a job holds its key at most, in milliseconds: 1 to 366 days. No limit by default.
   */
  readonly periodMs?: number;
}

/** The key of a payload, 1 to 400 characters: one text for all, or made of each; `undefined` means that it has none. */
export type UniqueKey<Payload> = string | ((payload: Payload) => string | undefined);

/** At most one job per tenant, type and key, as {@link defineJob} takes it. */
export interface UniqueOptions<Payload> extends UniqueScope {
  /** The key; by default none, and then only a job that is enqueued with a key of its own is unique. */
  readonly key?: UniqueKey<Payload>;
}

/** At most one job per tenant, type and key, as {@link enqueue} takes it. */
export interface JobUniqueOptions extends UniqueScope {
  /** The key, 1 to 400 characters; the definition's by default. */
  readonly key?: string;
}

/** What a definition says of unique keys. */
export interface UniqueRule<Payload = unknown> extends UniqueScope {
  /** A method, so that a registry of definitions takes a key of any payload. */
  key(payload: Payload): string | undefined;
}

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
): (UniqueScope & { readonly key: string }) | undefined {
  const own = unique === undefined ? {} : readOptions("invalid_options", type, unique);
  const { key: ownKey, ...scope } = own;
  const key = ownKey ?? rule?.key(payload);
  checkScope("invalid_options", type, scope);
  if (key === undefined) return undefined;
  checkKey("invalid_options", type, key);
  return { ...rule, ...scope, key };
}

/** The long form of what callers without types may have written in any. */
function readOptions<Key>(
  code: "invalid_definition" | "invalid_options",
  type: string,
  unique: Key | (UniqueScope & { readonly key?: Key }),
): UniqueScope & { readonly key?: Key } {
  if (!isLongForm(unique)) {
    if (typeof unique === "string" || typeof unique === "function") return { key: unique };
    throw refusal(code, type, "is a key, or an object with key, states and periodMs");
  }
  const other = Object.keys(unique).find((name) => !["key", "states", "periodMs"].includes(name));
  if (other === undefined) return unique;
  throw refusal(code, type, `has no option ${other}; it takes key, states and periodMs`);
}

function isLongForm<Key>(
  unique: Key | (UniqueScope & { readonly key?: Key }),
): unique is UniqueScope & { readonly key?: Key } {
  return typeof unique === "object" && unique !== null;
}

function checkKey(
  code: "invalid_definition" | "invalid_options",
  type: string,
  key: unknown,
): void {
  const isText = typeof key === "string" && key.isWellFormed() && !key.includes("\u0000");
  if (isText && key.length >= 1 && key.length <= 400) return;
  throw refusal(code, type, "takes a key of 1 to 400 characters without NUL");
}

function checkScope(
  code: "invalid_definition" | "invalid_options",
  type: string,
  { states, periodMs }: UniqueScope,
): void {
  const problem =
    states?.length === 0
      ? "needs a state"
      : states?.some((state) => !Object.hasOwn(jobTransitions, state)) === true
        ? `takes the states ${Object.keys(jobTransitions).join(", ")}`
        : periodMs !== undefined && !(periodMs >= 1 && periodMs <= maxDelayMs)
          ? `takes a periodMs from 1 to ${maxDelayMs}`
          : undefined;
  if (problem !== undefined) throw refusal(code, type, problem);
}

function refusal(
  code: "invalid_definition" | "invalid_options",
  type: string,
  problem: string,
): JobError {
  return new JobError(code, `The unique of job ${type} ${problem}.`, { field: "unique", type });
}
