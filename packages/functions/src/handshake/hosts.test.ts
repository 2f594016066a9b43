import { EventEmitter } from "node:events";

import { silentLogger, type LogFields, type Logger } from "@evenkeel/core";
import type { Environment } from "@evenkeel/dispatch";
import { createEngine, type Engine } from "@evenkeel/engine";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { serve } from "inngest/edge";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createBackground, type Background, type BackgroundOptions } from "../background.ts";
import { openScene, tick, waitUntilOk } from "../testing/handshake-faults.ts";
import { startEngine } from "../testing/handshake-servers.ts";
import { observeServe } from "./observed-serve.ts";

type Host = Background<[Request], Promise<Response>>;

let database: TestDatabase;
let engine: Engine;
let logged: (LogFields & { readonly event: string })[];
const hosts: Host[] = [];
beforeEach(async () => {
  database = await createTestDatabase();
  engine = createEngine();
  logged = [];
});
afterEach(async () => {
  await engine.close();
  for (const host of hosts.splice(0)) await host.close();
  await database.drop();
});

function open(
  change: Partial<BackgroundOptions<[Request], Promise<Response>>> & {
    environment?: Environment;
  } = {},
): Host {
  const note = (event: string, fields: LogFields = {}): void =>
    void logged.push({ ...fields, event });
  const logger: Logger = { ...silentLogger, info: note, warn: note, error: note };
  const host = createBackground<[Request], Promise<Response>>({
    appId: "shop",
    pool: database.pool,
    handlers: [],
    idleTimeoutMs: 0,
    serve,
    fetch: engine.fetch,
    logger,
    ...change,
    environment: {
      CRON_SECRET: "0123456789abcdef",
      INNGEST_DEV: "1",
      INNGEST_BASE_URL: engine.url,
      ...change.environment,
    },
  });
  hosts.push(host);
  return host;
}

/** Inngest's question for an app's functions. */
const put = (url: string) =>
  new Request(url, {
    method: "PUT",
    body: JSON.stringify({ url }),
    headers: { host: new URL(url).host, "x-inngest-sync-kind": "in_band" },
  });

async function registered(): Promise<Record<string, unknown>[]> {
  const { rows } = await database.pool.query<Record<string, unknown>>(
    `SELECT serve_url, build, environment, sdk FROM evenkeel.background_host ORDER BY serve_url, build`,
  );
  return rows;
}

const events = (name: string) => logged.filter(({ event }) => event === name);

test("a served request registers the host at the address that it shows", async () => {
  const host = open({ appVersion: "b1" });
  await host.inngest(new Request("https://shop.example/api/inngest"));
  expect(await registered()).toEqual([]);
  const response = await host.inngest(put("https://shop.example/api/inngest?x=1"));
  expect(response.status).toBe(200);
  expect(await registered()).toEqual([
    {
      serve_url: "https://shop.example/api/inngest",
      build: "b1",
      environment: "production",
      sdk: expect.stringMatching(/^inngest-js@\d+[.]|^js@\d+[.]/u),
    },
  ]);
});

test("an address that is set wins over what a request shows", async () => {
  const host = open({ environment: { INNGEST_SERVE_ORIGIN: "https://public.example" } });
  await host.inngest(put("http://10.0.0.7:3000/internal/inngest"));
  expect(await registered()).toMatchObject([
    { serve_url: "https://public.example/internal/inngest" },
  ]);
});

test.each(["127.0.0.1", "localhost", "[::1]"])("%s is one name for this machine", async (name) => {
  await open().inngest(put(`http://${name}:3001/api/inngest`));
  expect(await registered()).toMatchObject([{ serve_url: "http://localhost:3001/api/inngest" }]);
});

test("replicas and a rolling deploy of one address are fine; a second address is logged once", async () => {
  const url = "https://shop.example/api/inngest";
  for (const appVersion of ["b1", "b1", "b2"]) await open({ appVersion }).inngest(put(url));
  expect(await registered()).toHaveLength(2);
  expect(events("hosts.second_address")).toEqual([]);
  const other = open({ appVersion: "b1" });
  await other.inngest(put("https://worker.example/api/inngest"));
  await other.parts().registrar?.renew();
  expect(events("hosts.second_address")).toEqual([
    {
      event: "hosts.second_address",
      appId: "shop",
      environment: "production",
      serveUrl: "https://worker.example/api/inngest",
      other: url,
    },
  ]);
});

test.each([
  ["false", undefined],
  ["worker", "web"],
  ["worker", undefined],
])(
  "with BACKGROUND_JOBS_SERVE_FUNCTIONS=%s a host named %s serves nothing, and says so",
  async (value, hostName) => {
    const host = open({
      environment: { BACKGROUND_JOBS_SERVE_FUNCTIONS: value },
      ...(hostName === undefined ? {} : { hostName }),
    });
    for (const method of ["GET", "PUT", "POST"]) {
      const response = await host.inngest(
        new Request("https://shop.example/api/inngest?fnId=shop-background-maintenance", {
          method,
        }),
      );
      expect(response.status).toBe(404);
      expect(await response.json()).toMatchObject({
        error: "functions_not_served",
        message: expect.stringContaining("BACKGROUND_JOBS_SERVE_FUNCTIONS"),
      });
    }
    host.start({ watchdog: false });
    await expect(engine.register((request) => host.inngest(request))).rejects.toThrow("404");
    expect(await registered()).toEqual([]);
    expect((await host.parts().handshake.report())?.suspects).toBeDefined();
  },
);

test.each([
  ["worker", "worker"],
  ["true", undefined],
  [" Yes\n", "web"],
])("with BACKGROUND_JOBS_SERVE_FUNCTIONS=%j a host named %s serves", async (value, hostName) => {
  const host = open({
    environment: { BACKGROUND_JOBS_SERVE_FUNCTIONS: value },
    ...(hostName === undefined ? {} : { hostName }),
  });
  const response = await host.inngest(put("https://shop.example/api/inngest"));
  expect(response.status).toBe(200);
});

test("a host that leaves the functions to another needs no signing key, and a wrong name is refused", () => {
  const keys = { INNGEST_DEV: "", INNGEST_EVENT_KEY: "key" };
  const web = { ...keys, BACKGROUND_JOBS_SERVE_FUNCTIONS: "worker" };
  expect(open({ environment: web, hostName: "web" }).parts().registrar).toBeUndefined();
  expect(() => open({ environment: web, hostName: "worker" }).parts()).toThrow(
    "INNGEST_SIGNING_KEY is not set",
  );
  const wrong = { BACKGROUND_JOBS_SERVE_FUNCTIONS: "the worker" };
  expect(() => open({ environment: wrong }).parts()).toThrow("BACKGROUND_JOBS_SERVE_FUNCTIONS");
});

test("refused calls are counted for a host that nobody else can reach, and need Inngest's headers", async () => {
  const host = open({
    environment: {
      INNGEST_DEV: "",
      INNGEST_EVENT_KEY: "key",
      INNGEST_SIGNING_KEY: "signkey-test-12345678",
    },
  });
  host.start({ watchdog: false });
  await host.parts().registrar?.renew();
  const call = (headers: Record<string, string>) =>
    host.inngest(
      new Request("https://shop.example/api/inngest?fnId=shop-background-maintenance&stepId=step", {
        method: "POST",
        body: "{}",
        headers: { host: "shop.example", ...headers },
      }),
    );
  const refusedAt = async () => {
    await host.parts().registrar?.renew();
    const { hosts: rows } = await host.parts().ledger.handshake.evidence({
      appId: "shop",
      lane: "stable",
    });
    return rows.map(({ refusal }) => refusal).filter((refusal) => refusal !== null);
  };
  expect((await call({})).status).toBe(401);
  expect(await refusedAt()).toEqual([]);
  const seconds = Math.floor(Date.now() / 1_000);
  expect((await call({ "x-inngest-signature": `t=${seconds}&s=abc` })).status).toBe(401);
  expect(await refusedAt()).toEqual(["signature"]);
  expect((await call({ "x-inngest-signature": `t=${seconds - 4_000}&s=abc` })).status).toBe(401);
  expect(await refusedAt()).toEqual(["expired"]);
});

test.each(["//", "/api/inngest", "http://[", "*"])(
  "a request line of Node's with %j ends no process",
  async (url) => {
    const served: string[] = [];
    const handler = observeServe(
      (_request: object, response: EventEmitter) => {
        response.emit("finish");
      },
      async ({ url: seen }) => void served.push(seen.pathname),
    );
    const request = { method: "GET", url, headers: { host: "shop.example" } };
    const response = Object.assign(new EventEmitter(), { statusCode: 200, getHeader: () => "" });
    expect(() => handler(request, response)).not.toThrow();
    expect(served).toHaveLength(Number(URL.canParse(url, "http://shop.example")));
  },
);

test("a database user that does not own the tables has handshakes and hosts", async () => {
  const { pool } = database;
  const role = `app_${database.databaseUrl.split("/").at(-1)?.replaceAll(/\W/gu, "_")}`.slice(
    0,
    60,
  );
  await pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'hunter2'`);
  await pool.query(`SELECT evenkeel.grant_to('${role}')`);
  const url = new URL(database.databaseUrl);
  url.username = role;
  url.password = "hunter2";
  const { Pool } = await import("pg");
  const own = new Pool({ connectionString: url.href });
  const host = open({ pool: own });
  await host.inngest(put("https://shop.example/api/inngest"));
  const { ledger } = host.parts();
  await ledger.handshake.noteSent({ lane: "stable", dispatchKey: "a", build: "" });
  await ledger.handshake.markBack({ lane: "stable", dispatchKey: "a" });
  expect(await host.parts().handshake.report()).toMatchObject({ failingSince: null });
  expect(await registered()).toHaveLength(1);
  await host.close();
  await own.end();
  await pool.query(`DROP OWNED BY ${role}`);
  await pool.query(`DROP ROLE ${role}`);
});

test("two hosts over HTTP that serve one app are named in the log, and by the handshake of each", async () => {
  const scene = await openScene(startEngine);
  const web = scene.openWeb();
  const one = await scene.openWorker();
  const two = await scene.openWorker();
  await scene.server.sync(one.serveUrl);
  await scene.server.sync(two.serveUrl);
  await tick(web);
  await waitUntilOk(web);
  await one.host.parts().registrar?.renew();
  await two.host.parts().registrar?.renew();
  expect(scene.logged.filter((event) => event === "hosts.second_address")).not.toEqual([]);
  for (const { host } of [one, two]) {
    expect(await host.parts().handshake.report()).toMatchObject({
      failingSince: null,
      suspects: [{ cause: "app_served_elsewhere", likelihood: "likely" }],
    });
  }
  await scene.close();
});
