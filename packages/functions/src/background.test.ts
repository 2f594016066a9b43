import { silentLogger, type Logger } from "@evenkeel/core";
import type { Environment } from "@evenkeel/dispatch";
import { createEngine, type Engine } from "@evenkeel/engine";
import { defineJob, enqueue, handleJob } from "@evenkeel/jobs";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { serve } from "inngest/edge";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { z } from "zod";

import { createBackground, type Background, type BackgroundOptions } from "./background.ts";

type Host = Background<[Request], Promise<Response>>;
type HostOptions = BackgroundOptions<[Request], Promise<Response>>;

const noteJob = defineJob({
  type: "note.write",
  version: 1,
  payload: z.object({ note: z.string() }),
});

const patience = { timeout: 60_000, interval: 5 };

let database: TestDatabase;
let engine: Engine;
let notes: string[];
const hosts: Host[] = [];
beforeEach(async () => {
  database = await createTestDatabase();
  engine = createEngine({ handler: (request) => hosts[0]?.inngest(request) ?? Response.error() });
  notes = [];
});
afterEach(async () => {
  await engine.close();
  for (const host of hosts.splice(0)) await host.close();
  await database.drop();
});

function environmentOf(change: Environment = {}): Environment {
  return {
    CRON_SECRET: "0123456789abcdef",
    RECEIPTS_SECRET: "fedcba9876543210",
    INNGEST_DEV: "1",
    INNGEST_BASE_URL: engine.url,
    ...change,
  };
}

function open(change: Partial<HostOptions> & { environment?: Environment } = {}): Host {
  const host = createBackground({
    appId: "shop",
    environment: environmentOf(),
    pool: database.pool,
    handlers: [
      handleJob(noteJob, async ({ payload }) => {
        notes.push(payload.note);
      }),
    ],
    idleTimeoutMs: 0,
    serve,
    fetch: engine.fetch,
    ...change,
  });
  hosts.push(host);
  return host;
}

function tick(schedule = "background-jobs", secret = "0123456789abcdef"): Request {
  return new Request(`http://localhost/api/cron/${schedule}`, {
    headers: { authorization: `Bearer ${secret}` },
  });
}

test("a host of its options alone runs an enqueued job on a tick, and tells what became of it", async () => {
  const background = open();
  await background.migrate();
  await enqueue(database.pool, noteJob, { tenantId: "acme", payload: { note: "first" } });
  await engine.register((request) => background.inngest(request));
  const response = await background.cron(tick());
  expect(response.status).toBe(202);
  const { dispatchKey } = z.object({ dispatchKey: z.string() }).parse(await response.json());
  await engine.settled();
  expect(notes).toEqual(["first"]);
  const path = `receipts/${encodeURIComponent(dispatchKey)}`;
  expect((await background.receipts(tick(path))).status).toBe(401);
  const receipt = await background.receipts(tick(path, "fedcba9876543210"));
  expect(await receipt.json()).toMatchObject({ progress: "finished" });
  expect((await background.cronOfSchedule(tick("unknown"))).status).toBe(404);
});

test("nothing is parsed or opened before the first use, and every part is made once", async () => {
  const made: string[] = [];
  const environment = new Proxy<Environment>(
    environmentOf({ DATABASE_URL: database.databaseUrl }),
    {
      get: (target, name) => {
        if (name === "CRON_SECRET") made.push("config");
        return typeof name === "string" ? target[name] : undefined;
      },
    },
  );
  const background = open({
    environment,
    clock: { now: () => new Date("2026-01-01T00:00:30Z") },
    pool: () => {
      made.push("pool");
      return database.connect();
    },
    handlers: () => {
      made.push("handlers");
      return [];
    },
    serve: (served) => {
      made.push("serve");
      return serve(served);
    },
  });
  expect(made).toEqual([]);
  const responses = await Promise.all([
    ...Array.from({ length: 5 }, () => background.cron(tick())),
    background.inngest(new Request("http://localhost/api/inngest")),
    background.inngest(new Request("http://localhost/api/inngest")),
  ]);
  await Promise.all([background.nudge(), background.migrate()]);
  expect(made).toEqual(["config", "pool", "handlers", "serve"]);
  expect(
    responses
      .slice(0, 5)
      .map(({ status }) => status)
      .toSorted((one, other) => one - other),
  ).toEqual([200, 200, 200, 200, 202]);
});

test("a composition that failed is tried again at the next use", async () => {
  const variables: Record<string, string | undefined> = { ...environmentOf() };
  variables["BACKGROUND_JOBS_INNGEST_CONCURRENCY"] = "none";
  const background = open({ environment: variables });
  const code = "invalid_configuration";
  await expect(background.cron(tick())).rejects.toMatchObject({ code });
  await expect(background.migrate()).rejects.toMatchObject({ code });
  expect(() => background.parts()).toThrow(expect.objectContaining({ code }));
  expect(await background.nudge()).toMatchObject({
    outcome: "failed",
    error: expect.stringContaining("BACKGROUND_JOBS_INNGEST_CONCURRENCY"),
  });
  variables["BACKGROUND_JOBS_INNGEST_CONCURRENCY"] = "2";
  expect((await background.cron(tick())).status).toBe(202);
});

test("keys that end in a line break serve signed calls, and the host tells of them once", async () => {
  const signingKey = "signkey-test-12345678";
  const signed = createEngine({
    signingKey,
    eventKeys: ["key"],
    handler: (request) => hosts[0]?.inngest(request) ?? Response.error(),
  });
  const lines: unknown[] = [];
  const background = open({
    environment: {
      CRON_SECRET: "0123456789abcdef\n",
      INNGEST_EVENT_KEY: "key\r\n",
      INNGEST_SIGNING_KEY: `${signingKey}\n`,
      INNGEST_BASE_URL: signed.url,
    },
    fetch: signed.fetch,
    logger: {
      ...silentLogger,
      warn: (event, fields) => void lines.push([event, fields]),
    },
  });
  await background.migrate();
  await enqueue(database.pool, noteJob, { tenantId: "acme", payload: { note: "signed" } });
  expect((await background.cron(tick())).status).toBe(202);
  await signed.settled();
  expect(notes).toEqual(["signed"]);
  expect(lines).toEqual([
    [
      "background.configured",
      {
        mode: "dispatch-only",
        because: "INNGEST_EVENT_KEY is set",
        environment: "production",
        cron: "open",
        receipts: "closed: RECEIPTS_SECRET is not set",
        trimmed: ["CRON_SECRET", "INNGEST_EVENT_KEY", "INNGEST_SIGNING_KEY"],
      },
    ],
  ]);
  await signed.close();
});

test("a host without the signing key, outside the development mode, serves nothing", () => {
  const environment = { CRON_SECRET: "0123456789abcdef", INNGEST_EVENT_KEY: "key" };
  expect(() => open({ environment }).parts()).toThrow("INNGEST_SIGNING_KEY is not set");
});

test("DATABASE_URL is required only where the pool is made from it", () => {
  const pool = (): never => {
    throw new Error("not reached");
  };
  expect(() => open({ pool }).parts()).toThrow("DATABASE_URL is not set");
  expect(open().parts().config.databaseUrl).toBeUndefined();
});

test("a pool that was made here is ended by close, once; a given one is not", async () => {
  const made = database.connect();
  const environment = environmentOf({ DATABASE_URL: database.databaseUrl });
  const owning = open({ environment, pool: () => made });
  await owning.migrate();
  await Promise.all([owning.close(), owning.close()]);
  expect(made.ended).toBe(true);
  const borrowing = open();
  await borrowing.migrate();
  await borrowing.close();
  expect(database.pool.ended).toBe(false);
});

test("a host that was closed before its first use can be closed again", async () => {
  const made = database.connect();
  const environment = environmentOf({ DATABASE_URL: database.databaseUrl });
  const background = open({ environment, pool: () => made });
  await background.close();
  expect((await background.cron(tick())).status).toBe(202);
  await background.close();
  expect(made.ended).toBe(true);
});

test("a closed host does not start", async () => {
  const logged: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (event) => void logged.push(event) };
  const environment = environmentOf({ DATABASE_URL: database.databaseUrl });
  const background = open({ environment, logger, pool: () => database.connect() });
  await background.migrate();
  const relay = vi.spyOn(background.parts().relay, "start");
  await background.close();
  background.start();
  expect(relay).not.toHaveBeenCalled();
  expect(logged).toEqual([]);
});

test("compositions that fail leave no listeners on a lent pool", async () => {
  const { pool } = database;
  const functions = (): never => {
    throw new Error("not yet");
  };
  const failing = open({ functions });
  const count = (): number[] => ["error", "connect"].map((event) => pool.listenerCount(event));
  expect(() => failing.parts()).toThrow("not yet");
  const before = count();
  for (let call = 0; call < 5; call += 1) expect(() => failing.parts()).toThrow("not yet");
  expect(count()).toEqual(before);
});

test("a started host relays and watches until it is closed", async () => {
  const logged: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (event) => void logged.push(event) };
  // Its own handshake starts a maintenance run, which would watch as well.
  const background = open({ logger, maintenance: { watchdog: false } });
  const { ledger } = background.parts();
  const declared = vi.spyOn(ledger.schedules, "declare");
  background.start();
  background.start();
  await ledger.outbox.add(database.pool, [{ name: "shop/opened", data: { id: 1 } }]);
  await vi.waitUntil(() => engine.events().some(({ name }) => name === "shop/opened"), patience);
  await vi.waitUntil(() => declared.mock.calls.length > 0, patience);
  await background.close();
  expect(declared).toHaveBeenCalledOnce();
  expect(declared.mock.calls[0]?.[0]).toMatchObject([{ id: "background-jobs" }]);
  expect(logged).toEqual([]);
});

test("its signals end drains: gently the one, at once the other", async () => {
  const stopping = new AbortController();
  const aborting = new AbortController();
  const started = Promise.withResolvers<undefined>();
  const background = open({
    stopSignal: stopping.signal,
    signal: aborting.signal,
    handlers: [
      handleJob(noteJob, async ({ payload, signal }) => {
        started.resolve(undefined);
        await new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => reject(new Error(payload.note)));
        });
      }),
    ],
  });
  await enqueue(database.pool, noteJob, { tenantId: "acme", payload: { note: "long" } });
  const drain = background.parts().runner.drain({ budgetMs: 60_000 });
  await started.promise;
  stopping.abort();
  aborting.abort();
  expect(await drain).toMatchObject({ claimed: 1, succeeded: 0, stopped: true });
  const { runner } = background.parts();
  expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ claimed: 0, stopped: true });
});

test("two hosts on one machine have names of their own", () => {
  const names = [open(), open()].map((host) => host.parts().owner);
  expect(new Set(names).size).toBe(2);
  for (const name of names) expect(name).toMatch(/:[\da-f]{8}$/u);
});

test("without a pool one is opened on DATABASE_URL at first use, and ended by close", async () => {
  const make = (change: Environment): Host => {
    const environment = environmentOf(change);
    return createBackground({ appId: "shop", environment, maxConnections: 2, handlers: [], serve });
  };
  expect(() => make({}).parts()).toThrow("DATABASE_URL is not set");
  const ofPrisma = `${database.databaseUrl}?schema=public&connection_limit=1`;
  const background = make({ DATABASE_URL: ofPrisma });
  await background.migrate();
  const { pool } = background.parts();
  expect(pool.options.max).toBe(2);
  expect(pool.totalCount).toBeGreaterThan(0);
  await background.close();
  expect(pool.ended).toBe(true);
});

test("forced inline, a job that takes too long has timed out at the host's limit, and the tick says so", async () => {
  const signals: AbortSignal[] = [];
  const background = open({
    environment: environmentOf({
      BACKGROUND_JOBS_FORCE_INLINE: "true",
      BACKGROUND_JOBS_FORCE_INLINE_UNTIL: new Date(Date.now() + 3_600_000).toISOString(),
    }),
    handlers: [
      // It ignores its signal.
      handleJob(noteJob, ({ signal }) => {
        signals.push(signal);
        return new Promise(() => {});
      }),
    ],
    // Inline work ends 10 s before; the job alone would take its 30 s.
    hostTimeoutMs: 12_000,
    stepBudgetMs: 1_000,
  });
  await background.migrate();
  await enqueue(database.pool, noteJob, { tenantId: "acme", payload: { note: "first" } });
  const response = await background.cron(tick());
  expect(await response.json()).toMatchObject({
    mode: "inline-forced",
    tracking: true,
    inline: { claimed: 1, retried: 1 },
  });
  expect(signals).toMatchObject([{ aborted: true }]);
}, 120_000);
