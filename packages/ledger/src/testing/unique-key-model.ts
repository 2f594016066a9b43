import type { Pool } from "pg";

import type { JobStatus } from "../jobs/job.ts";

/** One job of the key, as the model sees it. Times are in minutes. */
export interface ModelJob {
  readonly id: string;
  state: "WAITING" | Exclude<JobStatus, "SCHEDULED" | "PENDING">;
  payload: number;
  attempt: number;
  age: number;
  /** How long until it is due. */
  due: number;
  /** How long its key's row is kept at least. */
  kept: number;
}

/** An enqueue under the key. */
export interface ModelEnqueue {
  readonly states: readonly JobStatus[] | undefined;
  readonly period: number | undefined;
  readonly mode: "keep" | "replace" | "debounce";
  readonly delay: number;
}

/** How many attempts its jobs have. One that waits without an attempt left will only be put on record as dead. */
export const maxAttempts = 2;

/** A debounced job is put off by so long, at most until so long after its first enqueue. */
export const debounce = { delay: 60, most: 90 } as const;

/** What a caller's open transaction has done under the key. */
interface OpenTransaction {
  took: ModelJob | undefined;
  replaced: { readonly job: ModelJob; readonly change: Partial<ModelJob> } | undefined;
  readonly locked: Set<ModelJob>;
}

/** What an enqueue is to do: `undefined` where it would wait for another transaction. */
export type Expected =
  | undefined
  | { readonly kind: "created" }
  | { readonly kind: "ran" | "kept" | "replaced"; readonly job: ModelJob };

/** One key, its jobs, and the transactions that are open: the rules of unique keys in plain code. */
export class UniqueKeyModel {
  holder: ModelJob | undefined;
  readonly jobs: ModelJob[] = [];
  readonly open: Map<string, OpenTransaction> = new Map();

  expect(by: string, asked: ModelEnqueue): Expected {
    const own = this.open.get(by);
    const others = [...this.open].flatMap(([name, other]) => (name === by ? [] : [other]));
    const job = own?.took ?? this.holder;
    if (job?.state === "WAITING" && job.attempt < maxAttempts) {
      if (asked.mode === "keep") return { kind: "kept", job };
      const isReplacedElsewhere = others.some(({ replaced }) => replaced?.job === job);
      return isReplacedElsewhere ? undefined : { kind: "replaced", job };
    }
    const { period } = asked;
    const states = asked.states ?? (period === undefined ? [] : ["RUNNING", "SUCCEEDED"]);
    const isInTime = period === undefined ? job?.state === "RUNNING" : (job?.age ?? 0) < period;
    const state = job?.state;
    const holds = state !== undefined && state !== "WAITING" && states.includes(state);
    if (job !== undefined && holds && isInTime) return { kind: "ran", job };
    return others.some(({ took }) => took !== undefined) ? undefined : { kind: "created" };
  }

  /** Does what {@link expect} said. `id` is that of a created job. */
  enqueue(by: string, asked: ModelEnqueue, id: string, payload: number): void {
    const expected = this.expect(by, asked);
    const own = by === "pool" ? undefined : this.#begin(by);
    if (expected === undefined || expected.kind === "ran") return;
    const delay = asked.mode === "debounce" ? debounce.delay : asked.delay;
    if (expected.kind === "created") {
      const kept = Math.max(delay, asked.period ?? 0);
      const job = { id, state: "WAITING", payload, attempt: 0, age: 0, due: delay, kept } as const;
      if (own === undefined) this.#take({ ...job });
      else own.took = { ...job };
      return;
    }
    const { job, kind } = expected;
    if (kind === "replaced") {
      const most = asked.mode === "debounce" ? Math.max(debounce.most - job.age, 0) : delay;
      const change = { payload, attempt: 0, due: Math.min(delay, most) };
      if (own === undefined || own.took === job) Object.assign(job, change);
      else own.replaced = { job, change };
    }
    if (own !== undefined && own.took !== job) own.locked.add(job);
  }

  commit(by: string): void {
    const own = this.open.get(by);
    this.open.delete(by);
    if (own?.replaced !== undefined) Object.assign(own.replaced.job, own.replaced.change);
    if (own?.took !== undefined) this.#take(own.took);
  }

  rollback(by: string): void {
    this.open.delete(by);
  }

  isLocked(job: ModelJob): boolean {
    return [...this.open.values()].some(({ locked }) => locked.has(job));
  }

  claimable(): ModelJob[] {
    return this.jobs.filter(
      (job) => job.state === "WAITING" && job.due <= 0 && !this.isLocked(job),
    );
  }

  pass(minutes: number): void {
    for (const job of this.jobs) {
      job.age += minutes;
      job.due -= minutes;
      job.kept -= minutes;
    }
  }

  /** What is said of a job that has ended goes with its time. */
  prune(): void {
    const isOver = this.holder !== undefined && !["WAITING", "RUNNING"].includes(this.holder.state);
    const isTaken = [...this.open.values()].some(({ took }) => took !== undefined);
    if (isOver && !isTaken && (this.holder?.kept ?? 0) <= 0) this.holder = undefined;
  }

  #begin(by: string): OpenTransaction {
    const own = this.open.get(by) ?? { took: undefined, replaced: undefined, locked: new Set() };
    this.open.set(by, own);
    return own;
  }

  #take(job: ModelJob): void {
    this.jobs.push(job);
    this.holder = job;
  }
}

/** Lets so much time pass for keys and jobs. */
export async function passTime(pool: Pool, byMs: number): Promise<void> {
  const before = (column: string): string =>
    `${column} = ${column} - ${byMs} * interval '1 millisecond'`;
  await pool.query(`
    UPDATE evenkeel.background_job_unique_key SET ${before("enqueued_at")}, ${before("kept_until")};
    UPDATE evenkeel.background_job
    SET ${before("created_at")}, ${before("run_at")}, ${before("turn_at")};
    UPDATE evenkeel.background_job_history SET ${before("finished_at")}`);
}
