import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Client } from "pg";

import {
  findSection,
  readSections,
  type PrintedFile,
  type PrintedSection,
} from "./printed-page.ts";
import { findFreePort, type WayIn } from "./quick-start.ts";
import { openShell, type ReaderShell } from "./reader-shell.ts";

const secret = "at-least-16-characters";
const user = "shop_app";
const patienceMs = 600_000;

/** What a product of the guide has before it reads the guide, and what its other libraries are. */
const installed =
  "npm install next@16 react@19 react-dom@19 prisma@7 @prisma/client@7 @prisma/adapter-pg@7 drizzle-orm kysely postgres typescript@5 @types/node@22 @types/react@19";

/** The tables that `prisma migrate deploy` would make of the guide's schema; its engine is a download of its own. */
const productTables = `
  CREATE TABLE "Invoice" (id text PRIMARY KEY, "tenantId" text NOT NULL, "sentAt" timestamp);
  CREATE TABLE "Task" (id serial PRIMARY KEY, "invoiceId" text NOT NULL, "lockedAt" timestamp, "doneAt" timestamp);
  CREATE ROLE ${user} LOGIN PASSWORD 'hunter2';
  GRANT ALL ON "Invoice", "Task", "Task_id_seq" TO ${user};`;

/** As create-next-app writes it. */
const tsconfig = {
  compilerOptions: {
    target: "ES2022",
    lib: ["dom", "dom.iterable", "esnext"],
    strict: true,
    noEmit: true,
    esModuleInterop: true,
    module: "esnext",
    moduleResolution: "bundler",
    resolveJsonModule: true,
    isolatedModules: true,
    skipLibCheck: true,
    jsx: "react-jsx",
    plugins: [{ name: "next" }],
    paths: { "@/*": ["./*"] },
  },
  include: ["next-env.d.ts", "**/*.ts", ".next/types/**/*.ts"],
  exclude: ["node_modules"],
};

/**
 * Follows docs/adopt.md in a product of its own: writes the files that it prints as they are, builds them without any
 * variables, and goes through its steps with a database user that is not the owner. Throws at the first that does not
 * hold.
 */
export async function followGuide({ root, folder, databaseUrl, env }: WayIn): Promise<void> {
  const sections = readSections(await readFile(join(root, "docs", "adopt.md"), "utf8"));
  const section = (title: string): PrintedSection => findSection(sections, title);
  const database = new Client({ connectionString: databaseUrl });
  await database.connect();
  const shell = openShell(folder, { ...env, PRISMA_SCHEMA_ENGINE_BINARY: "./package.json" });
  try {
    await writeJson(folder, "package.json", { name: "shop", private: true });
    await writeJson(folder, "tsconfig.json", tsconfig);
    await step("the product", () => shell.run(installed));
    await writeFiles(folder, section("What you have").files);
    await shell.run("npx prisma generate");
    await database.query(productTables);
    await step("1. install", () => runAll(shell, section("1.").commands));
    const migrations = section("2.").commands.map(
      (line) => `DATABASE_URL='${databaseUrl}' ${line}`,
    );
    await step("2. tables", () => runAll(shell, migrations));
    const files = ["3.", "4.", "7.", "8."].flatMap((title) => section(title).files);
    await writeFiles(folder, files);
    checkCrons(files);
    await step("next build, without variables", () => shell.run("npx next build"));
    const own = new URL(databaseUrl);
    own.username = user;
    own.password = "hunter2";
    await goThrough({
      folder,
      env: { ...env, DATABASE_URL: own.href, CRON_SECRET: secret },
      database,
    });
  } finally {
    await shell.close();
    await database.end();
  }
}

interface Drill {
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  readonly database: Client;
}

/** The steps of section 6, each with the variables of its row. */
async function goThrough({ folder, env, database }: Drill): Promise<void> {
  const enginePort = await findFreePort();
  const appPort = await findFreePort();
  const url = `http://localhost:${appPort}`;
  const engine = openShell(folder, env);
  const withApp = async (
    name: string,
    change: NodeJS.ProcessEnv,
    work: () => Promise<void>,
  ): Promise<void> => {
    const app = openShell(folder, {
      ...env,
      INNGEST_DEV: `http://127.0.0.1:${enginePort}`,
      ...change,
    });
    try {
      await app.run(`npx next start --port ${appPort} &`);
      await app.waitFor("Ready in", patienceMs);
      await step(name, work).catch((cause: unknown) => {
        throw new Error(
          `${String(cause)}\n${app.output().slice(-3_000)}\n${engine.output().slice(-2_000)}`,
        );
      });
      // What a killed app still held would be out of reach for the lease of 30 s.
      await until("nothing runs any more", async () => (await running()) === 0);
    } finally {
      await app.close();
    }
  };
  const running = (): Promise<number> =>
    count(
      database,
      "SELECT count(*)::int AS count FROM evenkeel.background_job WHERE state = 'RUNNING'",
    );
  let minutesAgo = 0;
  /** Each tick is of another minute, so that none is another's duplicate. */
  const tick = async (path = "background-jobs"): Promise<string> => {
    minutesAgo += 1;
    const response = await fetch(`${url}/api/cron/${path}`, {
      headers: {
        authorization: `Bearer ${secret}`,
        "x-evenkeel-scheduled-at": new Date(Date.now() - minutesAgo * 60_000).toISOString(),
      },
    });
    const body = await response.text();
    return `${response.status} ${/"mode":"([^"]*)"/u.exec(body)?.[1] ?? body}`;
  };
  const addTask = (): Promise<unknown> =>
    database.query(
      `WITH invoice AS (INSERT INTO "Invoice" VALUES (gen_random_uuid(), 'acme') RETURNING id)
       INSERT INTO "Task" ("invoiceId") SELECT id FROM invoice`,
    );
  const openTasks = (): Promise<number> =>
    count(database, `SELECT count(*)::int AS count FROM "Task" WHERE "doneAt" IS NULL`);
  const unsent = (): Promise<number> =>
    count(database, `SELECT count(*)::int AS count FROM "Invoice" WHERE "sentAt" IS NULL`);
  const off = { BACKGROUND_JOBS_USE_INNGEST: "false" };

  try {
    await engine.run(`npx @evenkeel/engine dev --port ${enginePort} --url ${url}/api/inngest &`);
    await withApp("6. deployed and off: the old route drains", off, async () => {
      await addTask();
      expectEqual(await tick(), "503 not-configured");
      expectEqual((await fetch(`${url}/api/cron/background-jobs`)).status, 401);
      expectEqual(await tick("tasks"), '200 {"done":1}');
    });
    await withApp("6. on: the old drain as a job, beside the old route", {}, async () => {
      await engine.waitFor(/synced \d+ functions/u, patienceMs);
      for (let task = 0; task < 3; task += 1) await addTask();
      expectEqual(await tick(), "202 dispatch-only");
      await until("the old queue is drained by its job", async () => (await openTasks()) === 0);
    });
    await withApp("7. jobs of the product's transactions", {}, async () => {
      for (const library of ["", "/drizzle", "/kysely", "/postgres-js"]) {
        const body = JSON.stringify({ tenantId: "acme" });
        const response = await fetch(`${url}/api/invoices${library}`, { method: "POST", body });
        expectEqual(`${library} ${response.status}`, `${library} 201`);
      }
      await tick();
      await until("all four are sent", async () => (await unsent()) === 0);
      const health = await fetch(`${url}/api/background-health`);
      expectEqual(`${health.status} ${(await health.text()).slice(0, 14)}`, '200 {"problems":[]');
    });
    const forcedUntil = new Date(Date.now() + 3_600_000).toISOString();
    const forced = {
      BACKGROUND_JOBS_FORCE_INLINE: "true",
      BACKGROUND_JOBS_FORCE_INLINE_UNTIL: forcedUntil,
    };
    await withApp("6. the way back: forced inline", forced, async () => {
      await addTask();
      await fetch(`${url}/api/invoices`, { method: "POST", body: '{"tenantId":"acme"}' });
      expectEqual(await tick(), "200 inline-forced");
      expectEqual([await openTasks(), await unsent()].join(), "0,0");
    });
    await withApp("6. the way back: off, and the old route", off, async () => {
      await addTask();
      await fetch(`${url}/api/invoices`, { method: "POST", body: '{"tenantId":"acme"}' });
      expectEqual(await tick(), "503 not-configured");
      expectEqual(await tick("tasks"), '200 {"done":1}');
      expectEqual(await unsent(), 1);
    });
    await withApp("6. on again: what waited is done", {}, async () => {
      expectEqual(await tick(), "202 dispatch-only");
      await until("the invoice that waited is sent", async () => (await unsent()) === 0);
    });
  } finally {
    await engine.close();
  }
}

async function step(name: string, work: () => Promise<void>): Promise<void> {
  const startMs = performance.now();
  await work().catch((cause: unknown) => {
    throw new Error(`${name}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  });
  console.log(`${((performance.now() - startMs) / 1_000).toFixed(1).padStart(7)} s ${name}`);
}

async function runAll(shell: ReaderShell, lines: readonly string[]): Promise<void> {
  for (const line of lines) await shell.run(line);
}

async function writeFiles(folder: string, files: readonly PrintedFile[]): Promise<void> {
  for (const { path, code } of files) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), code);
  }
}

async function writeJson(folder: string, name: string, value: unknown): Promise<void> {
  await writeFile(join(folder, name), JSON.stringify(value, undefined, 2));
}

/** Each cron of vercel.json is a route that the guide prints. */
function checkCrons(files: readonly PrintedFile[]): void {
  const config = files.find(({ path }) => path === "vercel.json")?.code ?? "{}";
  const { crons }: { crons: { path: string }[] } = JSON.parse(config);
  const routes = new Set(files.map(({ path }) => path));
  for (const { path } of crons) expectEqual(routes.has(`app${path}/route.ts`), true);
}

async function count(database: Client, sql: string): Promise<number> {
  const { rows } = await database.query<{ count: number }>(sql);
  return rows[0]?.count ?? -1;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + patienceMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`It did not come about that ${what}.`);
    await sleep(50);
  }
}

function expectEqual(got: unknown, expected: unknown): void {
  if (got !== expected) throw new Error(`It was ${String(got)}, not ${String(expected)}.`);
}
