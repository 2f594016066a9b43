import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { Pool } from "pg";

import { startChild, type Child } from "../system/child.ts";
import type { Teardown } from "../system/teardown.ts";

/** What workers are started with. */
export interface FleetOptions {
  readonly pool: Pool;
  readonly databaseUrl: string;
  readonly recorderUrl: string;
  /** The file in which workers note starts. */
  readonly startNotes: string;
  readonly size: number;
  readonly concurrency: number;
  readonly leaseMs: number;
  /** The longest pause in a handler, before its effect and after it. */
  readonly workMs: number;
}

/** The workers. Each that is killed is replaced at once, under a name of its own. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #workers: Child[] = [];
  readonly #looks: Promise<void>[] = [];
  #started = 0;
  #killed = 0;
  #stopped: Child | undefined;
  #stops = 0;

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

  /**
   * Stops one worker and lets it go on: after two leases, or as soon as others run what it held, so that it meets
   * them at work.
   */
  async stopOne(chance: () => number, until: "two leases" | "taken over"): Promise<void> {
    const victim = this.#workers[Math.floor(chance() * this.#options.size)];
    if (victim === undefined || victim.hasEnded) return;
    const { pool, leaseMs } = this.#options;
    this.#stopped = victim;
    this.#stops += 1;
    const label = `${victim.name}, stop ${this.#stops}`;
    const at = await this.#databaseTime();
    victim.kill("SIGSTOP");
    await this.#noteHeld(label, victim.name, at);
    if (until === "two leases") await sleep(leaseMs * 2);
    else await this.#waitForTakeOver(label);
    await pool.query(`INSERT INTO "kill_run"."stop" VALUES ($1)`, [label]);
    victim.kill("SIGCONT");
    // Long enough for whatever it would still do.
    await sleep(leaseMs / 2);
    this.#stopped = undefined;
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
    const { databaseUrl, recorderUrl, leaseMs, workMs, concurrency, startNotes } = this.#options;
    const name = `worker-${this.#started}`;
    this.#started += 1;
    const settings = [leaseMs, workMs, concurrency].map(String);
    const given = [databaseUrl, recorderUrl, name, ...settings, startNotes];
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

  /** Until others have half of it. */
  async #waitForTakeOver(label: string): Promise<void> {
    const deadlineMs = performance.now() + this.#options.leaseMs * 2;
    while (performance.now() < deadlineMs) {
      const { rows } = await this.#options.pool.query<{ isHalf: boolean | null }>(
        `SELECT 2 * count("c"."job") >= count(*) AS "isHalf" FROM "kill_run"."held" AS "h"
         LEFT JOIN "kill_run"."claim" AS "c" ON "c"."job" = "h"."job" AND "c"."fence" = "h"."fence" + 1
         WHERE "h"."label" = $1`,
        [label],
      );
      if (rows[0]?.isHalf === true) return;
      await sleep(20);
    }
  }

  async #databaseTime(): Promise<string> {
    const { rows } = await this.#options.pool.query<{ at: string }>(
      `SELECT clock_timestamp()::text AS "at"`,
    );
    return rows[0]?.at ?? "";
  }
}
