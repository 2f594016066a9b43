import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { Pool } from "pg";

import { startChild, type Child } from "../child.ts";
import type { Teardown } from "../teardown.ts";

/** What workers are started with. */
export interface FleetOptions {
  readonly pool: Pool;
  readonly databaseUrl: string;
  readonly recorderUrl: string;
  readonly size: number;
  readonly concurrency: number;
  readonly leaseMs: number;
  /** The longest pause in a handler, before its effect and after it. */
  readonly workMs: number;
}

/** What became of the worker that was stopped for a while. */
export interface Stop {
  /** As what it held is noted. */
  readonly label: string;
  /** The database's time at which it went on. */
  readonly continuedAt: string;
}

/** The workers. Each that is killed is replaced at once, under a name of its own. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #workers: Child[] = [];
  readonly #looks: Promise<void>[] = [];
  #started = 0;
  #killed = 0;
  #stopped: Child | undefined;

  constructor(options: FleetOptions, teardown: Teardown) {
    this.#options = options;
    teardown.add("the workers", () => this.end());
    for (let place = 0; place < options.size; place += 1) this.#start(place);
  }

  get killed(): number {
    return this.#killed;
  }

  /** Workers that ended and were not killed: there should be none. */
  get crashed(): readonly Child[] {
    return this.#workers.filter(({ hasEnded }) => hasEnded);
  }

  /** Kills one of the workers and starts another. */
  async killOne(chance: () => number): Promise<void> {
    const place = Math.floor(chance() * this.#options.size);
    const victim = this.#workers[place];
    if (victim === undefined || victim === this.#stopped || victim.hasEnded) return;
    const at = await this.#databaseTime();
    victim.kill("SIGKILL");
    await victim.ended;
    this.#killed += 1;
    this.#start(place);
    this.#looks.push(this.#noteHeld(victim.name, victim.name, at));
  }

  /** Stops one worker until others took over what it held, for two leases at least, and lets it go on. */
  async stopOne(chance: () => number): Promise<Stop> {
    const victim = this.#workers[Math.floor(chance() * this.#options.size)];
    if (victim === undefined) throw new Error("There is no worker to stop.");
    this.#stopped = victim;
    const at = await this.#databaseTime();
    victim.kill("SIGSTOP");
    const label = `${victim.name}, stopped`;
    await this.#noteHeld(label, victim.name, at);
    await sleep(this.#options.leaseMs * 2);
    const continuedAt = await this.#databaseTime();
    victim.kill("SIGCONT");
    // Long enough for whatever it would still do.
    await sleep(this.#options.leaseMs);
    this.#stopped = undefined;
    return { label, continuedAt };
  }

  /** Waits until all is noted that killed workers held. */
  async settleNotes(): Promise<void> {
    await Promise.all(this.#looks);
  }

  async end(): Promise<void> {
    for (const worker of this.#workers) worker.kill("SIGCONT");
    await Promise.all(this.#workers.map((worker) => worker.stop()));
  }

  #start(place: number): void {
    const { databaseUrl, recorderUrl, leaseMs, workMs, concurrency } = this.#options;
    const name = `worker-${this.#started}`;
    this.#started += 1;
    const given = [databaseUrl, recorderUrl, name, leaseMs, workMs, concurrency].map(String);
    this.#workers[place] = startChild({
      name,
      command: process.execPath,
      args: [join(import.meta.dirname, "worker.ts"), ...given],
      cwd: import.meta.dirname,
      environment: {},
    });
  }

  /** Looks twice: what the worker had sent before it died may still be written after it. */
  async #noteHeld(label: string, worker: string, at: string): Promise<void> {
    for (const delayMs of [200, 800]) {
      await sleep(delayMs);
      await this.#options.pool.query(
        `INSERT INTO "kill_run"."held"
         SELECT $1, "id", "fence", $3::timestamptz FROM "evenkeel"."background_job"
         WHERE "owner" = $2 AND "state" = 'RUNNING'
         ON CONFLICT DO NOTHING`,
        [label, worker, at],
      );
    }
  }

  async #databaseTime(): Promise<string> {
    const { rows } = await this.#options.pool.query<{ at: string }>(
      `SELECT clock_timestamp()::text AS "at"`,
    );
    return rows[0]?.at ?? "";
  }
}
