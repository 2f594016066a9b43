import { createTestDatabase } from "@evenkeel/test-postgres/testing";
import { expect, test } from "vitest";

import { createLedger } from "../ledger.ts";
import { claimRequest, newJob } from "../testing/job-queue.ts";
import { toSqlClient } from "./database.ts";

const refused = {
  name: "LedgerError",
  code: "not_migrated",
  message: expect.stringMatching(/^The ledger's tables .*migrate\(\).*prisma migrate deploy/u),
};

test("every call says that the tables are missing, and how to make them", async () => {
  await using database = await createTestDatabase({ migrated: false });
  const ledger = createLedger({ pool: database.pool });
  await expect(ledger.jobs.insert(undefined, [newJob("j")])).rejects.toMatchObject(refused);
  // The caller's transaction.
  const insert = ledger.jobs.insert(toSqlClient(database.pool), [newJob("j")]);
  await expect(insert).rejects.toMatchObject(refused);
  await expect(insert).rejects.toHaveProperty("cause.code", expect.stringMatching(/42P01|3F000/u));
  await expect(ledger.jobs.claim(claimRequest(["j"], 1))).rejects.toMatchObject(refused);
  await expect(ledger.forTenant("t").jobs.list()).rejects.toMatchObject(refused);
  await expect(ledger.prune()).rejects.toMatchObject(refused);
  await expect(ledger.outbox.add(database.pool, { name: "a", data: {} })).rejects.toMatchObject(
    refused,
  );
  await expect(ledger.checkGrants()).rejects.toMatchObject(refused);
  await ledger.migrate();
  await expect(ledger.jobs.insert(undefined, [newJob("j")])).resolves.toHaveLength(1);
  await ledger.close();
});

test("a table that lacks a column is of an older version", async () => {
  await using database = await createTestDatabase();
  await database.pool.query(`ALTER TABLE evenkeel.background_job DROP COLUMN progress`);
  const ledger = createLedger({ pool: database.pool });
  await expect(ledger.forTenant("t").jobs.list()).rejects.toMatchObject(refused);
  await ledger.close();
});

test("what Prisma throws is understood as well", async () => {
  const error = Object.assign(
    new Error(
      'Raw query failed. Code: `42P01`. Message: `relation "evenkeel.background_job_id_seq" does not exist`',
    ),
    { code: "P2010" },
  );
  const client = { $queryRawUnsafe: async () => Promise.reject(error) };
  await expect(toSqlClient(client).query("SELECT 1")).rejects.toMatchObject(refused);
  // Another table is the product's own.
  const product = new Error('Code: `42P01`. Message: `relation "order" does not exist`');
  const ofProduct = { $queryRawUnsafe: async () => Promise.reject(product) };
  await expect(toSqlClient(ofProduct).query("SELECT 1")).rejects.toBe(product);
});
