import type { MovableClock } from "@evenkeel/core/database-clock";
import { parseBackgroundConfig, type Environment, type Receipt } from "@evenkeel/dispatch";
import { createEngine, virtualClock, type Engine, type EventSummary } from "@evenkeel/engine";
import {
  createBackground,
  type Background,
  type BackgroundParts,
  type BackgroundPartsOptions,
} from "@evenkeel/functions";
import type { DrainReport } from "@evenkeel/jobs";
import type { DeadLetterRecord, JobFilter, JobRecord, Ledger } from "@evenkeel/ledger";
import { serve } from "inngest/edge";
import type { Pool } from "pg";

import { cloneDatabase, type ClockedTestDatabase } from "./test-database.ts";

/** Options of {@link createTestBackground}: those of `createBackground`, but what the test decides itself. */
export type TestBackgroundOptions = Omit<
  BackgroundPartsOptions,
  "pool" | "clock" | "fetch" | "appId" | "environment" | "config"
> & {
  /**
   * The database that the test's own is cloned from, with the product's tables in it; nobody may be connected to it
   * meanwhile. Its user owns it and may create databases. Defaults to `DATABASE_URL` of `environment`, one of both is required.
   */
  readonly databaseUrl?: string;
  /** The product's variables, as in `process.env`. Of Inngest's only `INNGEST_ENV` is read; defaults to none. */
  readonly environment?: Environment;
  /** The app's id; defaults to `test`. */
  readonly appId?: string;
  /** Where time begins: a date or an ISO time. Defaults to 2026-01-01T00:00:00Z. */
  readonly startAt?: Date | string;
};

/** What became of a tick. */
export interface TickResult {
  /** The status of the cron route's response. */
  readonly status: number;
  readonly receipt: Receipt;
}

/** A product's background work under test: a database of its own, an Inngest server in process, one clock for both. */
export interface TestBackground extends AsyncDisposable {
  /** A pool on the test's database: enqueue with it, and look at the product's tables. */
  readonly pool: Pool;
  readonly databaseUrl: string;
  readonly ledger: Ledger;
  /** What the product's hosts have: routes, nudge, parts. */
  readonly background: Background<[request: Request], Promise<Response>>;
  readonly parts: BackgroundParts;
  /** The Inngest server: faults, `explain`, runs. */
  readonly engine: Engine;
  /** The present of the queue, the dispatcher and the engine. */
  now(): Date;
  /**
   * Moves time on (`"1h"`, `"90s"`, or milliseconds), doing all that the engine has to do on the way; jobs start with
   * a tick or `drain`. With `tickEvery` the cron route is called on the way as well, as a scheduler would.
   */
  advance(
    duration: string | number,
    options?: { readonly tickEvery?: string | number },
  ): Promise<void>;
  /** Calls the cron route of a schedule, `background-jobs` by default; resolves when all that it started has ended. */
  tick(schedule?: string): Promise<TickResult>;
  /** Runs the jobs that are due, without a tick, until none is left. */
  drain(): Promise<DrainReport>;
  /** The jobs on record, the newest first: at most `limit` of the filter, 50 by default. */
  jobs(filter?: JobFilter): Promise<JobRecord[]>;
  /** The dead letters that no operator has decided about, the newest first. */
  deadLetters(): Promise<DeadLetterRecord[]>;
  /** The events that reached the Inngest server, the oldest first; its own are left out. */
  sentEvents(filter?: { readonly name?: string }): EventSummary[];
  /** Ends everything and removes the database. `await using` does so at the end of its scope. */
  close(): Promise<void>;
}

// As long as any host asks for.
const cronSecret = "a-secret-of-this-test-and-of-nothing-else-at-all";
const defaultStart = "2026-01-01T00:00:00Z";

/**
 * Starts a product's background work for a test. Nothing of it is a stand-in: the routes, the functions and the queue
 * are those of production, on a clone of the product's database and an Inngest server in this process.
 *
 * @throws TypeError for a start that is no time, and where no database is named; Error where it cannot be cloned;
 * what `createBackground` throws for its options.
 *
 * @example
 * await using app = await createTestBackground({ environment: process.env, handlers: [sendInvoices] });
 * await enqueue(app.pool, sendInvoice, { tenantId: "t1", payload: { invoiceId: "i1" }, runAt });
 * await app.advance("1h");
 * await app.tick();
 * expect(await app.jobs({ status: "SUCCEEDED" })).toHaveLength(1);
 */
export async function createTestBackground(
  options: TestBackgroundOptions,
): Promise<TestBackground> {
  const {
    databaseUrl,
    environment = {},
    startAt = defaultStart,
    appId = "test",
    ...rest
  } = options;
  const startMs = new Date(startAt).getTime();
  if (Number.isNaN(startMs)) throw new TypeError(`startAt is no time: ${JSON.stringify(startAt)}.`);
  const template = databaseUrl ?? environment["DATABASE_URL"]?.trim();
  if (template === undefined || template === "") {
    throw new TypeError("Name a database to clone: databaseUrl, or DATABASE_URL in environment.");
  }
  const database = await cloneDatabase(template, startMs);
  try {
    return compose(database, { ...rest, appId, environment }, startMs);
  } catch (error) {
    await database.drop();
    throw error;
  }
}

type ComposeOptions = Omit<TestBackgroundOptions, "databaseUrl" | "startAt"> & {
  readonly appId: string;
  readonly environment: Environment;
};

function compose(
  database: ClockedTestDatabase,
  options: ComposeOptions,
  startMs: number,
): TestBackground {
  const { clock, pool } = database;
  const { environment, ...rest } = options;
  const engine: Engine = createEngine({
    clock: virtualClock({ start: startMs }),
    handler: async (request) => {
      await clock.moveTo(engine.now());
      return background.inngest(request);
    },
    // How long a call takes in real time depends on what else the machine does.
    stallMs: 100_000,
  });
  const now = (): Date => new Date(Math.max(engine.now(), clock.now()));
  const background = createBackground({
    idleTimeoutMs: 0,
    ...rest,
    pool,
    config: () =>
      parseBackgroundConfig(
        {
          INNGEST_ENV: "test",
          ...withoutInngest(environment),
          CRON_SECRET: cronSecret,
          INNGEST_DEV: "1",
          INNGEST_BASE_URL: engine.url,
        },
        { now: now() },
      ),
    clock: { now },
    fetch: engine.fetch,
    serve,
  });
  const parts = background.parts();
  return {
    pool,
    databaseUrl: database.databaseUrl,
    ledger: parts.ledger,
    background,
    parts,
    engine,
    now,
    ...createMoves({ background, clock, engine, parts }),
    jobs: (filter = {}) => parts.ledger.asOperator("test").jobs.list(filter),
    deadLetters: () => parts.ledger.asOperator("test").deadLetters.list({ status: "OPEN" }),
    sentEvents: (filter = {}) =>
      engine.events(filter).filter(({ name }) => !name.startsWith("inngest/")),
    ...closing(async () => {
      await engine.close();
      await background.close();
      await database.drop();
    }),
  };
}

/** What moves a test on: time, ticks and drains. */
function createMoves(deps: {
  background: Background<[request: Request], Promise<Response>>;
  clock: MovableClock;
  engine: Engine;
  parts: BackgroundParts;
}): Pick<TestBackground, "advance" | "tick" | "drain"> {
  const { background, clock, engine, parts } = deps;

  async function move(duration: string | number): Promise<void> {
    await engine.advance(duration);
    await clock.moveTo(engine.now());
  }

  async function tick(schedule = "background-jobs"): Promise<TickResult> {
    await clock.moveTo(engine.now());
    const request = new Request(`http://test.invalid/api/cron/${encodeURIComponent(schedule)}`, {
      method: "POST",
      headers: { authorization: `Bearer ${cronSecret}` },
    });
    const route = schedule === "background-jobs" ? background.cron : background.cronOfSchedule;
    const response = await route(request);
    const receipt = await readReceipt(response);
    await engine.settled();
    return { status: response.status, receipt };
  }

  return {
    async advance(duration, { tickEvery } = {}) {
      if (tickEvery === undefined) {
        await move(duration);
        return;
      }
      const untilMs = engine.now() + durationMs(duration);
      const everyMs = durationMs(tickEvery);
      if (everyMs <= 0) throw new TypeError("tickEvery is longer than nothing.");
      while (engine.now() + everyMs <= untilMs) {
        await move(everyMs);
        await tick();
      }
      await move(untilMs - engine.now());
    },
    tick,
    async drain() {
      await clock.moveTo(engine.now());
      const report = await parts.runner.drain({ budgetMs: drainBudgetMs });
      await engine.settled();
      return report;
    },
  };
}

/** As long as a drain of the process function may last. */
const drainBudgetMs = 60_000;

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 };

function durationMs(duration: string | number): number {
  if (typeof duration === "number") return duration;
  const [, amount, unit = ""] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/u.exec(duration) ?? [];
  const ms = Number(amount) * (unitMs[unit] ?? Number.NaN);
  if (Number.isNaN(ms)) throw new TypeError(`${duration} is no duration; write "15m".`);
  return ms;
}

/** A receipt is what the route answers, whatever its status. */
async function readReceipt(response: Response): Promise<Receipt> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the route writes a receipt and nothing else
  return (await response.json()) as Receipt;
}

/** The product's variables, without those that would lead its client to another Inngest server. */
function withoutInngest(environment: Environment): Environment {
  return Object.fromEntries(
    Object.entries(environment).filter(
      ([name]) => name === "INNGEST_ENV" || !name.startsWith("INNGEST_"),
    ),
  );
}

function closing(
  end: () => Promise<void>,
): Pick<TestBackground, "close" | typeof Symbol.asyncDispose> {
  let ended: Promise<void> | undefined;
  const close = (): Promise<void> => (ended ??= end());
  return { close, [Symbol.asyncDispose]: close };
}
