import { randomUUID } from "node:crypto";

import { silentLogger } from "@evenkeel/core";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { Pool } from "pg";
import { afterEach, beforeEach, expect, inject, test } from "vitest";

import { migrations } from "../generated/migrations.ts";
import { createLedger, type Ledger } from "../ledger.ts";
import { claimRequest, newJob } from "../testing/job-queue.ts";
import { migrate } from "./migrate.ts";

let database: TestDatabase;
let user: string;
let pool: Pool;
let ledger: Ledger;
beforeEach(async () => {
  database = await createTestDatabase();
  user = `app_${randomUUID().replaceAll("-", "")}`;
  await database.pool.query(`CREATE ROLE ${user} LOGIN PASSWORD 'hunter2'`);
  pool = new Pool({ connectionString: urlOf(database, user), max: 4 });
  ledger = createLedger({ pool });
});
afterEach(async () => {
  await ledger.close();
  await pool.end();
  await database.pool.query(`DROP OWNED BY ${user} CASCADE`);
  await database.pool.query(`DROP ROLE ${user}`);
  await database.drop();
});

/** Past a pooler, which knows its own users only. */
function urlOf({ databaseUrl }: TestDatabase, username: string): string {
  const url = new URL(inject("postgres").url);
  url.pathname = new URL(databaseUrl).pathname;
  url.username = username;
  url.password = "hunter2";
  return url.href;
}

const grant = async (): Promise<unknown> =>
  database.pool.query(`SELECT evenkeel.grant_to($1)`, [user]);

/** Everything that a host does with its queue. */
async function useQueue(on: Ledger): Promise<Record<string, unknown>> {
  const [first] = await on.jobs.insert(undefined, [
    newJob("j", { tenantId: "acme" }),
    newJob("j", { tenantId: "bolt" }),
  ]);
  const { jobs } = await on.jobs.claim(claimRequest(["j"], 10));
  const held = await on.jobs.heartbeat(jobs, 30_000);
  const settled = await on.jobs.settle(
    jobs.map((job) => ({ ...job, kind: "succeeded", result: undefined })),
  );
  const [third] = await on.jobs.insert(undefined, [
    newJob("j", { tenantId: "acme", uniqueKey: "k" }),
    newJob("j", { tenantId: "bolt" }),
  ]);
  const acmeJobs = on.forTenant("acme").jobs;
  const key = { tenantId: "acme", type: "j", uniqueKey: "k" };
  const moved = await acmeJobs.reschedule(key, { delayMs: 0 });
  const own = await acmeJobs.cancel(third?.id ?? "");
  const many = await on.asOperator("ada").jobs.cancelMany({ type: "j" });
  const acme = await on.forTenant("acme").jobs.list();
  return {
    created: first?.created,
    claimed: jobs.map(({ tenantId }) => tenantId).toSorted(),
    held: held.size,
    settled: settled.size,
    changed: [moved.rescheduled, own.cancelled, many.ids.length],
    "seen by acme": acme.map(({ tenantId }) => tenantId),
    migrated: await on.migrate(),
  };
}

const works = {
  created: true,
  claimed: ["acme", "bolt"],
  held: 2,
  settled: 2,
  changed: [true, true, 1],
  "seen by acme": ["acme", "acme"],
  migrated: { applied: [] },
};

test("the owner works, and nothing is to be granted", async () => {
  const owners = createLedger({ pool: database.pool });
  expect(await useQueue(owners)).toEqual(works);
  expect(await owners.checkGrants()).toEqual([]);
  await owners.close();
});

test("a user with the documented grant works, reads tenants under row-level security, and inherits nothing", async () => {
  await grant();
  // It may be repeated.
  await grant();
  expect(await useQueue(ledger)).toEqual(works);
  expect(await ledger.checkGrants()).toEqual([]);
  const { rows } = await pool.query(
    `SELECT pg_has_role('evenkeel_tenant', 'MEMBER') AS member, pg_has_role('evenkeel_tenant', 'USAGE') AS inherits`,
  );
  expect(rows).toEqual([{ member: true, inherits: false }]);
  const client = await pool.connect();
  await client.query("BEGIN");
  await client.query(
    `SELECT set_config('role', 'evenkeel_tenant', true), set_config('evenkeel.tenant_id', 'bolt', true)`,
  );
  const seen = await client.query(`SELECT DISTINCT tenant_id FROM evenkeel.background_job_history`);
  expect(seen.rows).toEqual([{ tenant_id: "bolt" }]);
  await client.query("ROLLBACK");
  client.release();
});

test("a user that was granted the tenants' role itself, and inherits it, is not taken for a tenant", async () => {
  await grant();
  await database.pool.query(`GRANT evenkeel_tenant TO ${user}`);
  expect(await useQueue(ledger)).toEqual(works);
  const problems = await ledger.checkGrants();
  expect(problems.map(({ code }) => code)).toEqual(["tenant_role_inherited"]);
  for (const { repair } of problems) await database.pool.query(repair);
  expect(await ledger.checkGrants()).toEqual([]);
});

test("a user without the tenants' role works, and its reads ask for the tenant themselves", async () => {
  await grant();
  await database.pool.query(`REVOKE evenkeel_tenant_access FROM ${user}`);
  expect(await useQueue(ledger)).toEqual(works);
  expect((await ledger.checkGrants()).map(({ code }) => code)).toEqual(["tenant_role_not_granted"]);
});

test("a user without rights is told what to do, by every call", async () => {
  const refused = { code: "not_granted", message: expect.stringContaining("evenkeel.grant_to") };
  await expect(ledger.jobs.insert(undefined, [newJob("j")])).rejects.toMatchObject(refused);
  await expect(ledger.jobs.claim(claimRequest(["j"], 1))).rejects.toMatchObject(refused);
  await expect(ledger.jobs.heartbeat([{ id: "1", fence: "1" }], 1_000)).rejects.toMatchObject(
    refused,
  );
  await expect(
    ledger.jobs.settle([{ id: "1", fence: "1", kind: "succeeded", result: undefined }]),
  ).rejects.toMatchObject(refused);
  await expect(ledger.forTenant("acme").jobs.list()).rejects.toMatchObject(refused);
  await expect(ledger.migrate()).rejects.toMatchObject({
    code: "migration_failed",
    message: expect.stringContaining("as the owner"),
  });
  const problems = await ledger.checkGrants();
  expect(new Set(problems.map(({ code }) => code))).toEqual(
    new Set(["schema", "table", "sequence", "later_tables", "tenant_role_not_granted"]),
  );
  expect(problems.find(({ subject }) => subject === "_prisma_migrations")).toMatchObject({
    message: `User ${user} lacks SELECT on table evenkeel._prisma_migrations.`,
    repair: `SELECT evenkeel.grant_to('${user}');`,
  });
  for (const repair of new Set(problems.map((problem) => problem.repair))) {
    await database.pool.query(repair);
  }
  expect(await ledger.checkGrants()).toEqual([]);
});

test("a user that does not own the schema may not migrate, and uses what the owner's migration adds", async () => {
  await grant();
  const later = {
    name: "29990101000000_notes",
    checksum: "1".repeat(64),
    sql: `CREATE TABLE evenkeel.note (id bigserial PRIMARY KEY, text text NOT NULL)`,
  };
  await expect(migrate(pool, silentLogger, [...migrations, later])).rejects.toMatchObject({
    code: "migration_failed",
    message: expect.stringContaining("as the owner"),
  });
  await migrate(database.pool, silentLogger, [...migrations, later]);
  await pool.query(`INSERT INTO evenkeel.note (text) VALUES ('a')`);
  const records = pool.query(`DELETE FROM evenkeel._prisma_migrations`);
  await expect(records).rejects.toThrow(/permission denied/u);
});

test("a host whose user may create no schema is told to let the owner migrate", async () => {
  const empty = await createTestDatabase({ migrated: false });
  const stranger = createLedger({ databaseUrl: urlOf(empty, user) });
  await expect(stranger.migrate()).rejects.toMatchObject({ code: "migration_failed" });
  await expect(stranger.checkGrants()).rejects.toMatchObject({ code: "not_migrated" });
  await stranger.close();
  await empty.drop();
});

test("an owner that may not grant the tenants' role grants all else, and an administrator adds the role later", async () => {
  const empty = await createTestDatabase({ migrated: false });
  const owner = `owner_${randomUUID().replaceAll("-", "")}`;
  await empty.pool.query(`CREATE ROLE ${owner} LOGIN PASSWORD 'hunter2'`);
  await empty.pool.query(`CREATE SCHEMA evenkeel AUTHORIZATION ${owner}`);
  const owners = new Pool({ connectionString: urlOf(empty, owner) });
  expect((await migrate(owners, silentLogger)).applied).toHaveLength(migrations.length);
  await owners.query(`SELECT evenkeel.grant_to($1)`, [user]);
  const users = createLedger({ databaseUrl: urlOf(empty, user) });
  expect(await useQueue(users)).toEqual(works);
  const codes = async (): Promise<Set<string>> =>
    new Set((await users.checkGrants()).map(({ code }) => code));
  expect(await codes()).toEqual(new Set(["tenant_role_not_granted", "row_security_off"]));
  for (const { repair } of await users.checkGrants()) await empty.pool.query(repair);
  expect(await codes()).toEqual(new Set());
  await users.close();
  await owners.end();
  await empty.pool.query(`DROP OWNED BY ${user}`);
  await empty.pool.query(`DROP OWNED BY ${owner} CASCADE`);
  await empty.pool.query(`DROP ROLE ${owner}`);
  await empty.drop();
});

test("where functions are nobody's by default, a granted user claims under limits, and a tenant is told why a job waits", async () => {
  const empty = await createTestDatabase({ migrated: false });
  await empty.pool.query(`ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC`);
  await migrate(empty.pool, silentLogger);
  await empty.pool.query(`SELECT evenkeel.grant_to($1)`, [user]);
  const users = createLedger({ databaseUrl: urlOf(empty, user) });
  expect(await users.checkGrants()).toEqual([]);
  await users.asOperator("ada").queue.limit({ tenantId: "acme" }, { maxRunning: 1 });
  const jobs = [newJob("j", { tenantId: "acme" }), newJob("j", { tenantId: "acme" })];
  const [first, second] = await users.jobs.insert(undefined, jobs);
  expect((await users.jobs.claim(claimRequest(["j"], 10))).jobs).toMatchObject([{ id: first?.id }]);
  const explained = await users.forTenant("acme").jobs.explain(second?.id ?? "");
  expect(explained).toMatchObject({ cause: "capped" });
  await users.close();
  await empty.drop();
});

test("every table with a tenant has the policies", async () => {
  const { rows } = await database.pool.query<{ relname: string }>(
    `SELECT class.relname FROM pg_class AS class
     JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attname = 'tenant_id'
     WHERE class.relnamespace = 'evenkeel'::regnamespace AND class.relkind = 'r' AND NOT EXISTS (
       SELECT FROM pg_policies AS policy
       WHERE policy.schemaname = 'evenkeel' AND policy.tablename = class.relname AND policy.policyname = 'one_tenant'
         AND policy.qual LIKE '%CURRENT_USER%'
     )`,
  );
  expect(rows).toEqual([]);
});
