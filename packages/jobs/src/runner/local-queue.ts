import type { ClaimedJob } from "@evenkeel/ledger";

import type { JobHandler } from "../definition/job-handler.ts";
import type { SuspectGate } from "./suspect-gate.ts";

/** A claimed job that waits for a slot. */
export interface WaitingJob {
  readonly job: ClaimedJob;
  readonly handler: JobHandler;
}

/**
 * The jobs of a drain that were claimed and wait for a slot, in the order of their claims. Those that the next crash
 * would make count as its cause wait for their turn in the whole process besides, and go first when it comes.
 */
export class LocalQueue {
  readonly #gate: SuspectGate;
  readonly #onFree: () => void;
  readonly #ready = new Map<string, WaitingJob>();
  readonly #suspects = new Map<string, WaitingJob>();
  #next = this.#ready.values();

  constructor(gate: SuspectGate, onFree: () => void) {
    this.#gate = gate;
    this.#onFree = onFree;
  }

  get size(): number {
    return this.#ready.size + this.#suspects.size;
  }

  /** Whether one waits for nothing but a slot. */
  get hasReady(): boolean {
    return this.#ready.size > 0;
  }

  add(job: ClaimedJob, handler: JobHandler): void {
    const isSuspect = job.crashes > 0 && job.crashes === handler.definition.maxCrashes - 1;
    (isSuspect ? this.#suspects : this.#ready).set(job.id, { job, handler });
  }

  delete(id: string): boolean {
    return this.#ready.delete(id) || this.#suspects.delete(id);
  }

  /** Takes the next one out that may start. */
  take(): WaitingJob | undefined {
    return this.#takeSuspect() ?? this.#takeReady();
  }

  /** Takes all of them out. */
  clear(): ClaimedJob[] {
    const jobs = [...this.#ready.values(), ...this.#suspects.values()].map(({ job }) => job);
    this.#ready.clear();
    this.#suspects.clear();
    this.#gate.forget(this.#onFree);
    return jobs;
  }

  #takeSuspect(): WaitingJob | undefined {
    const [first] = this.#suspects.values();
    if (first === undefined || !this.#gate.enter(first.job, this.#onFree)) return undefined;
    this.#suspects.delete(first.job.id);
    return first;
  }

  #takeReady(): WaitingJob | undefined {
    if (this.#ready.size === 0) return undefined;
    // One iterator as far as it goes: a new one would pass the places of all that were taken before.
    let { done, value } = this.#next.next();
    if (done === true) {
      this.#next = this.#ready.values();
      ({ done, value } = this.#next.next());
    }
    if (value !== undefined) this.#ready.delete(value.job.id);
    return value;
  }
}
