import { randomUUID } from "node:crypto";

import { defined } from "@evenkeel/core";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import type { TenantLedger } from "./tenant-ledger.ts";
import { setup, type Setup } from "./testing/setup.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
  for (const tenant of tenants) await fill(tenant);
});
afterAll(() => t.close());

const tenants = ["acme", "bolt", "a'; DROP SCHEMA evenkeel; --", "%", "acme|x"];

interface Belongings {
  readonly waiting: string;
  readonly ended: string;
  readonly runId: string;
  readonly letter: string;
  readonly dispatchKey: string;
}
const belongings = new Map<string, Belongings>();

/** One row of every kind. */
async function fill(tenantId: string): Promise<void> {
  const { pool } = t.database;
  const id = async (text: string, values: unknown[]): Promise<string> => {
    const { rows } = await pool.query<{ id: string }>(text, values);
    return rows[0]?.id ?? "";
  };
  const job = { type: "t", version: 1, payloadText: `{"of":1}` };
  const [waiting] = await t.ledger.jobs.insert(undefined, [{ ...job, tenantId, maxAttempts: 3 }]);
  const ended = await id(
    `INSERT INTO evenkeel.background_job_history
       (id, tenant_id, type, version, payload, lane, outcome, run_at, attempt, errors, created_at)
     VALUES (nextval('evenkeel.background_job_id_seq'), $1, 't', 1, '{}', 'stable', 'DEAD', now(), 1, '[]', now())
     RETURNING id::text`,
    [tenantId],
  );
  const dispatchKey = `s|v1|tenant:${encodeURIComponent(tenantId)}|60|2026-01-01T00:00:00.000Z`;
  await t.ledger.windows.claim({
    dispatchKey,
    schedule: "s",
    scope: `tenant:${tenantId}`,
    tenantId,
    windowStart: new Date("2026-01-01T00:00:00Z"),
    windowSeconds: 60,
    lane: "stable",
    owner: "host",
    correlationId: "c",
    leaseMs: 60_000,
  });
  const runId = randomUUID();
  const eventName = "background/process.requested";
  await t.ledger.runs.begin({
    runId,
    functionId: "f",
    eventName,
    dispatchKey,
    tenantId,
    owner: "w",
    attempt: 0,
  });
  const letter = await t.ledger.deadLetters.file({
    kind: "JOB",
    sourceId: ended,
    name: "t",
    reason: "terminal",
    error: "no",
    payload: {},
    tenantId,
  });
  await pool.query(
    `INSERT INTO evenkeel.background_effect (job_id, job_created_at, name, tenant_id, fence)
     VALUES ($1, now(), 'charge', $2, 1)`,
    [ended, tenantId],
  );
  await t.ledger.outbox.add(pool, { name: "a", data: {}, tenantId });
  await pool.query(
    `INSERT INTO evenkeel.background_job_unique_key (tenant_id, type, unique_key, job_id, replaced_job_id)
     VALUES ($1, 't', 'k', 1, 0)`,
    [tenantId],
  );
  await t.ledger.asOperator("ops").queue.limit({ tenantId }, { maxRunning: 5 });
  const belonging = { waiting: waiting?.id ?? "", ended, runId, letter: letter.id, dispatchKey };
  belongings.set(tenantId, belonging);
}

function tenantOf(other: Belongings): string | undefined {
  return [...belongings].find(([, belonging]) => belonging === other)?.[0];
}

/** Every method of a tenant's ledger, asked for what is another's. A new method has to be added here. */
function askForForeign(
  mine: TenantLedger,
  other: Belongings,
): Record<string, () => Promise<unknown>> {
  return {
    "jobs.find": () => mine.jobs.find(other.waiting),
    "jobs.list": () => mine.jobs.list(defined({ tenantId: tenantOf(other) })),
    "jobs.cancel": async () => found(await mine.jobs.cancel(other.waiting)),
    "jobs.reschedule": async () => found(await mine.jobs.reschedule(other.waiting, new Date())),
    "jobs.explain": () => mine.jobs.explain(other.waiting),
    "effects.list": () => mine.effects.list(other.ended),
    "runs.find": () => mine.runs.find({ runId: other.runId, functionId: "f" }),
    "runs.list": () => mine.runs.list({ dispatchKey: other.dispatchKey }),
    "deadLetters.find": () => mine.deadLetters.find(other.letter),
    "deadLetters.list": () => mine.deadLetters.list({ ids: [other.letter] }),
    receipt: () => mine.receipt(other.dispatchKey),
  };
}

/** What a change told of a job; `undefined`: nothing. */
function found(change: { readonly id?: string }): string | undefined {
  return change.id;
}

function methodsOf(mine: TenantLedger): string[] {
  return Object.entries(mine).flatMap(([name, part]: [string, unknown]) =>
    typeof part === "object" && part !== null
      ? Object.keys(part).map((method) => `${name}.${method}`)
      : [name],
  );
}

test("no method finds, lists or changes what is another tenant's", async () => {
  const pairs = fc.tuple(fc.constantFrom(...tenants), fc.constantFrom(...tenants));
  await fc.assert(
    fc.asyncProperty(pairs, async ([mine, other]) => {
      fc.pre(mine !== other);
      const foreign = belongings.get(other);
      if (foreign === undefined) throw new Error("Every tenant has belongings.");
      const asked = askForForeign(t.ledger.forTenant(mine), foreign);
      expect(Object.keys(asked).toSorted()).toEqual(methodsOf(t.ledger.forTenant(mine)).toSorted());
      for (const [method, ask] of Object.entries(asked)) {
        const answer = await ask();
        const found = Array.isArray(answer)
          ? answer.filter((row) => ownerOf(row) !== mine)
          : answer;
        expect({ method, found: JSON.stringify(found === false ? [] : (found ?? [])) }).toEqual({
          method,
          found: "[]",
        });
      }
      expect(await t.ledger.forTenant(other).jobs.find(foreign.waiting)).toMatchObject({
        status: "PENDING",
      });
    }),
    { numRuns: 40 },
  );
});

test("each method finds what is the tenant's own", async () => {
  for (const tenant of tenants) {
    const own = belongings.get(tenant);
    if (own === undefined) throw new Error("Every tenant has belongings.");
    const mine = t.ledger.forTenant(tenant);
    expect(await mine.jobs.find(own.waiting)).toMatchObject({ tenantId: tenant });
    expect((await mine.jobs.list()).map(({ id }) => id)).toEqual([own.waiting, own.ended]);
    expect(await mine.effects.list(own.ended)).toMatchObject([{ tenantId: tenant }]);
    expect(await mine.runs.list()).toMatchObject([{ runId: own.runId, tenantId: tenant }]);
    expect(await mine.deadLetters.list()).toMatchObject([{ id: own.letter, tenantId: tenant }]);
    expect(await mine.receipt(own.dispatchKey)).toMatchObject({ window: { tenantId: tenant } });
  }
});

test("the second rowSecurity: a statement that forgets the tenant sees and writes one tenant's rows", async () => {
  const tables = [
    "background_job",
    "background_job_history",
    "background_dead_letter",
    "background_function_run",
    "background_dispatch_window",
    "background_outbox_event",
    "background_effect",
  ];
  const client = await t.database.pool.connect();
  try {
    for (const table of tables) {
      await client.query("BEGIN");
      await client.query(
        `SELECT set_config('role', 'evenkeel_tenant', true), set_config('evenkeel.tenant_id', 'acme', true)`,
      );
      const { rows } = await client.query<{ tenant_id: string }>(
        `SELECT tenant_id FROM evenkeel."${table}"`,
      );
      expect({ table, tenants: rows.map(ownerOf) }).toEqual({ table, tenants: ["acme"] });
      const { rowCount } = await client.query(
        `UPDATE evenkeel."${table}" SET tenant_id = tenant_id`,
      );
      expect({ table, rowCount }).toEqual({ table, rowCount: 1 });
      await expect(
        client.query(`UPDATE evenkeel."${table}" SET tenant_id = 'bolt'`),
      ).rejects.toThrow(/row-level security/u);
      await client.query("ROLLBACK");
    }
    // No role, no setting: nothing leaks from one transaction into the next.
    const { rows } = await client.query<{ user: string; tenant: string | null }>(
      `SELECT current_user::text AS "user", current_setting('evenkeel.tenant_id', true) AS tenant`,
    );
    expect(rows[0]?.user).not.toBe("evenkeel_tenant");
    expect(rows[0]?.tenant ?? "").toBe("");
  } finally {
    client.release();
  }
});

test("the second rowSecurity: of the limits a tenant sees its own and those of types, and changes none", async () => {
  const client = await t.database.pool.connect();
  try {
    await client.query("BEGIN");
    await client.query(
      `SELECT set_config('role', 'evenkeel_tenant', true), set_config('evenkeel.tenant_id', 'acme', true)`,
    );
    const { rows } = await client.query<{ subject: string }>(
      `SELECT subject FROM evenkeel.background_job_limit`,
    );
    expect(rows).toEqual([{ subject: "acme" }]);
    await expect(
      client.query(`UPDATE evenkeel.background_job_limit SET max_running = NULL`),
    ).rejects.toThrow(/permission denied/u);
    await client.query("ROLLBACK");
  } finally {
    client.release();
  }
});

test("a session that names no tenant sees nothing under the tenants' role", async () => {
  const client = await t.database.pool.connect();
  try {
    await client.query("BEGIN");
    await client.query(`SET LOCAL ROLE "evenkeel_tenant"`);
    const { rows } = await client.query(`SELECT FROM evenkeel.background_job`);
    expect(rows).toEqual([]);
    await client.query("ROLLBACK");
  } finally {
    client.release();
  }
});

test("a tenant's statement that fails leaves its connection clean", async () => {
  const mine = t.ledger.forTenant("acme");
  await expect(mine.runs.find({ runId: "a\u0000b", functionId: "f" })).rejects.toThrow(/0x00/u);
  expect(await t.ledger.asOperator("ops").jobs.list()).toHaveLength(2 * tenants.length);
});

test("a tenant must have a name", () => {
  expect(() => t.ledger.forTenant("")).toThrow(/tenant/u);
  expect(() => t.ledger.asOperator(" ")).toThrow(/name/u);
});

function ownerOf(row: unknown): unknown {
  if (typeof row !== "object" || row === null) return undefined;
  return "tenantId" in row ? row.tenantId : "tenant_id" in row ? row.tenant_id : undefined;
}
