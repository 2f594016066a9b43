import { createLedger, type Ledger } from "@evenkeel/ledger";
import { createTestDatabase, type TestDatabase } from "@evenkeel/postgres/testing";
import { z } from "zod";

import { defineJob, type JobDefinition } from "../job-definition.ts";
import { exponential } from "../retry-policy.ts";

/** A ledger on a database of the test's own, with ways to look at it and to move its time. */
export interface Queue {
  readonly database: TestDatabase;
  readonly ledger: Ledger;
  /** Lets the leases of running jobs lapse. */
  lapseLeases(): Promise<void>;
  /** Makes scheduled jobs due. */
  makeDue(): Promise<void>;
  /** The history's rows, oldest first. */
  history(): Promise<HistoryRow[]>;
  deadLetters(): Promise<{ readonly reason: string; readonly error: string }[]>;
  close(): Promise<void>;
}

/** A settled job. */
export interface HistoryRow {
  readonly id: string;
  readonly tenant_id: string;
  readonly outcome: string;
  readonly attempt: number;
  readonly result: unknown;
  readonly errors: { readonly code: string; readonly attempt: number }[];
}

/** Opens a {@link Queue}. */
export async function openQueue(): Promise<Queue> {
  const database = await createTestDatabase();
  const ledger = createLedger({ pool: database.pool });
  const { pool } = database;
  return {
    database,
    ledger,
    lapseLeases: async () => {
      await pool.query(
        `UPDATE "evenkeel"."background_job" SET "lease_expires_at" = now() - interval '1 second'
         WHERE "state" = 'RUNNING'`,
      );
    },
    makeDue: async () => {
      await pool.query(
        `UPDATE "evenkeel"."background_job" SET "run_at" = now() WHERE "state" = 'PENDING'`,
      );
    },
    history: async () => {
      const { rows } = await pool.query<HistoryRow>(
        `SELECT "id"::text, "tenant_id", "outcome", "attempt", "result", "errors"
         FROM "evenkeel"."background_job_history" AS "h" ORDER BY "h"."id"`,
      );
      return rows;
    },
    deadLetters: async () => {
      const { rows } = await pool.query<{ reason: string; error: string }>(
        `SELECT "reason", "error" FROM "evenkeel"."background_dead_letter" ORDER BY "created_at"`,
      );
      return rows;
    },
    close: async () => {
      await ledger.close();
      await database.drop();
    },
  };
}

const numberPayload: z.ZodObject<{ n: z.ZodNumber }> = z.object({ n: z.number() });

/** The job of most tests. */
export const countJob: JobDefinition<typeof numberPayload> = defineJob({
  type: "count",
  version: 1,
  payload: numberPayload,
  retry: exponential({ maxAttempts: 3, baseMs: 1_000 }),
});
