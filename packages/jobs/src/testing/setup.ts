import { createLedger, type Ledger } from "@evenkeel/ledger";
import { setup as openDatabase, type Setup as Opened } from "@evenkeel/test-postgres/testing";

import { enqueueMany } from "../enqueue.ts";
import { countJob } from "./count-job.ts";

/** A ledger on a database of the test's own, with ways to look at it and to move its time; `await using` ends both. */
export interface Setup extends Opened<Ledger> {
  /** Lets the leases of running jobs expire. */
  expireLeases(): Promise<void>;
  /** Makes scheduled jobs due. */
  makeDue(): Promise<void>;
  /** The history's rows, oldest first. */
  history(): Promise<HistoryRow[]>;
  deadLetters(): Promise<{ readonly reason: string; readonly error: string }[]>;
}

/** A settled job. */
export interface HistoryRow {
  readonly id: string;
  readonly tenant_id: string;
  readonly outcome: string;
  readonly attempt: number;
  readonly result: unknown;
  readonly errors: { readonly code: string; readonly attempt: number; readonly message: string }[];
}

/**
 * Opens a {@link Setup}.
 *
 * @example await using t = await setup();
 */
export async function setup(): Promise<Setup> {
  const opened = await openDatabase(createLedger);
  const { pool } = opened.database;
  return {
    ...opened,
    expireLeases: async () => {
      await pool.query(
        `UPDATE "evenkeel"."background_job" SET "lease_expires_at" = now() - interval '1 second'
         WHERE "state" = 'RUNNING'`,
      );
    },
    makeDue: async () => {
      await pool.query(
        `UPDATE "evenkeel"."background_job" SET "run_at" = date_trunc('milliseconds', now())
         WHERE "state" <> 'RUNNING'`,
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
  };
}

/** Enqueues so many {@link countJob}s of one tenant, with 0, 1, 2 … in their payloads. */
export async function enqueueCounts(t: Setup, count: number, tenantId = "t"): Promise<void> {
  const inputs = Array.from({ length: count }, (_, n) => ({ tenantId, payload: { n } }));
  await enqueueMany(t.database.pool, countJob, inputs);
}
