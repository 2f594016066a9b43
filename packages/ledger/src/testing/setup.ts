import { setup as openDatabase, type Setup as Opened } from "@evenkeel/test-postgres/testing";

import type { ClaimedJob, ClaimRequest, ClaimResult, NewJob } from "../jobs/job.ts";
import { createLedger, type Ledger } from "../ledger.ts";
import { claimRequest, newJob } from "./job-queue.ts";

/** A ledger on a database of the test's own, and what tests of the queue do with it; `await using` ends both. */
export interface Setup extends Opened<Ledger> {
  /** Stores so many jobs of a type and a tenant. */
  insert(type: string, tenantId: string, count: number, change?: Partial<NewJob>): Promise<void>;
  /** Claims jobs of these types in the lane `stable`, for 30 s, and starts them, as a runner does. */
  claim(
    types: readonly string[],
    limit: number,
    change?: Partial<ClaimRequest>,
  ): Promise<ClaimResult>;
  /** Claims and starts the first job of a type. It throws when there is none. */
  claimFirst(type: string): Promise<ClaimedJob>;
  /** Moves a time of a type's jobs into the past: the leases of those that run expire, or those that wait are due. */
  moveTime(type: string, column: "lease_expires_at" | "run_at"): Promise<void>;
  /** Returns the rows of a type in a table of the schema. */
  rowsOf<Row extends object>(table: string, type: string): Promise<Row[]>;
}

/**
 * Opens a {@link Setup}. Tests that share one give their jobs types of their own.
 *
 * @example await using t = await setup();
 */
export async function setup(): Promise<Setup> {
  const opened = await openDatabase(createLedger);
  const { database, ledger } = opened;
  const claim: Setup["claim"] = async (types, limit, change) => {
    const claimed = await ledger.jobs.claim(claimRequest(types, limit, change));
    await ledger.jobs.start(claimed.jobs);
    return claimed;
  };
  return {
    ...opened,
    insert: async (type, tenantId, count, change) => {
      const job = newJob(type, { tenantId, payloadText: "{}", ...change });
      await ledger.jobs.insert(
        undefined,
        Array.from({ length: count }, () => job),
      );
    },
    claim,
    claimFirst: async (type) => {
      const [job] = (await claim([type], 1)).jobs;
      if (job === undefined) throw new Error("Nothing was claimed.");
      return job;
    },
    moveTime: async (type, column) => {
      await database.pool.query(
        `UPDATE evenkeel.background_job SET ${column} = now() - interval '1 second'
         WHERE type = $1 AND (state = 'RUNNING') = $2`,
        [type, column === "lease_expires_at"],
      );
    },
    rowsOf: async <Row extends object>(table: string, type: string) => {
      const column = table === "background_dead_letter" ? "name" : "type";
      const { rows } = await database.pool.query<Row>(
        `SELECT * FROM evenkeel.${table} WHERE ${column} = $1`,
        [type],
      );
      return rows;
    },
  };
}
