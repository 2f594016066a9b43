import type { Inbox } from "@evenkeel/inbox";
import type { Ledger } from "@evenkeel/ledger";
import type { Pool } from "pg";

import type { Snapshot } from "./progress-line.ts";
import type { CronService } from "./ticks.ts";

/** What the tables say at the end. */
export interface Observation {
  readonly ledger: Awaited<ReturnType<Ledger["report"]>>;
  readonly jobs: Awaited<ReturnType<Ledger["jobs"]["counts"]>>;
  readonly inbox: Awaited<ReturnType<Inbox["report"]>>;
  /** Jobs ever enqueued, by the highest id that the queue has given. */
  readonly enqueued: number;
  /** Messages that ended neither as replied nor as ignored, and have no dead letter. */
  readonly unaccounted: number;
  /** Jobs with more than one row of history, or in the queue and in the history at once. */
  readonly settledTwice: number;
  /** Windows that the reconciler sent again. */
  readonly repaired: number;
  /** Windows whose every process run fell silent: nothing took them over. */
  readonly abandoned: number;
  /** Jobs, drafts, replies and dead letters under another tenant than their message's. */
  readonly crossTenant: number;
  /** Jobs that were running when their worker died, and were run again. */
  readonly recovered: number;
}

const unaccountedStatement = `
SELECT count(*)::int AS "count" FROM "inbox"."message" AS "m"
WHERE ("m"."class" IS NULL OR "m"."class" IN ('person', 'list'))
  AND NOT EXISTS (
    SELECT FROM "inbox"."outbound" AS "o"
    WHERE "o"."tenant_id" = "m"."tenant_id" AND "o"."message_id" = "m"."id")
  AND NOT EXISTS (
    SELECT FROM "evenkeel"."background_dead_letter" AS "d"
    WHERE "d"."kind" = 'JOB' AND "d"."status" = 'OPEN' AND "d"."tenant_id" = "m"."tenant_id"
      AND "d"."payload"->>'messageId' = "m"."id")`;

const jobsStatement = `
SELECT
  (SELECT count(*)::int FROM (
     SELECT "id" FROM "evenkeel"."background_job"
     UNION ALL SELECT "id" FROM "evenkeel"."background_job_history") AS "all") AS "enqueued",
  (SELECT count(*)::int FROM "evenkeel"."background_job_history" JOIN "evenkeel"."background_job" USING ("id"))
    + (SELECT count(*)::int FROM (
         SELECT FROM "evenkeel"."background_job_history" GROUP BY "id" HAVING count(*) > 1) AS "twice")
    AS "settledTwice",
  (SELECT count(*)::int FROM "evenkeel"."background_job_history"
   WHERE "errors" @> '[{"code": "lease_expired"}]') AS "recovered",
  (SELECT count(*)::int FROM (
     SELECT "tenant_id", "payload"->>'messageId' AS "id" FROM "evenkeel"."background_job_history"
     UNION ALL SELECT "tenant_id", "payload"->>'messageId' FROM "evenkeel"."background_dead_letter" WHERE "kind" = 'JOB'
     UNION ALL SELECT "tenant_id", "message_id" FROM "inbox"."delivery") AS "work"
   WHERE NOT EXISTS (
     SELECT FROM "inbox"."message" AS "m"
     WHERE "m"."tenant_id" = "work"."tenant_id" AND "m"."id" = "work"."id")) AS "crossTenant",
  (SELECT count(*)::int FROM "evenkeel"."background_dispatch_window" WHERE "repair_count" > 0) AS "repaired",
  (SELECT count(*)::int FROM (
     SELECT FROM "evenkeel"."background_function_run"
     WHERE "event_name" = 'background/process.requested'
     GROUP BY "dispatch_key" HAVING bool_and("status" = 'STALE')) AS "silent") AS "abandoned"`;

/** Reads the tables as an outsider: it shares no code with what wrote them. */
export class Observer {
  readonly #pool: Pool;
  readonly #ledger: Ledger;
  readonly #inbox: Inbox;

  constructor(deps: { readonly pool: Pool; readonly ledger: Ledger; readonly inbox: Inbox }) {
    this.#pool = deps.pool;
    this.#ledger = deps.ledger;
    this.#inbox = deps.inbox;
  }

  /** A look for the progress line. */
  async look(cron: CronService): Promise<Snapshot> {
    const jobs = await this.#ledger.jobs.counts();
    const { rows } = await this.#pool.query<{ running: number }>(
      `SELECT count(*)::int AS "running" FROM "evenkeel"."background_function_run" WHERE "status" = 'RUNNING'`,
    );
    return { jobs, runs: rows[0]?.running ?? 0, windows: cron.windows.length, ticks: cron.counts };
  }

  /** Process runs on record as under way. */
  async openRuns(): Promise<number> {
    const { rows } = await this.#pool.query<{ open: number }>(
      `SELECT count(*)::int AS "open" FROM "evenkeel"."background_function_run"
       WHERE "status" = 'RUNNING' AND "event_name" = 'background/process.requested'`,
    );
    return rows[0]?.open ?? 0;
  }

  /** Jobs that a worker holds under a lease that has not expired. */
  async runningJobs(): Promise<number> {
    const { rows } = await this.#pool.query<{ running: number }>(
      `SELECT count(*)::int AS "running" FROM "evenkeel"."background_job"
       WHERE "state" = 'RUNNING' AND "lease_expires_at" > now()`,
    );
    return rows[0]?.running ?? 0;
  }

  /** Whether no job is left, no run is under way and no window waits for a repair. */
  async isQuiet(): Promise<boolean> {
    const { rows } = await this.#pool.query<{ busy: boolean }>(
      `SELECT EXISTS (SELECT FROM "evenkeel"."background_job")
         OR EXISTS (SELECT FROM "evenkeel"."background_function_run" WHERE "status" = 'RUNNING')
         OR EXISTS (SELECT FROM "evenkeel"."background_dispatch_window"
           WHERE "status" IN ('DISPATCHING', 'ENQUEUE_FAILED')) AS "busy"`,
    );
    if (rows[0]?.busy !== false) return false;
    const { abandoned, ledger } = await this.conclude();
    return abandoned === 0 && ledger.windows.neverStarted === 0;
  }

  async conclude(): Promise<Observation> {
    const [ledger, jobs, inbox, unaccounted, numbers] = await Promise.all([
      this.#ledger.report(),
      this.#ledger.jobs.counts(),
      this.#inbox.report(),
      this.#pool.query<{ count: number }>(unaccountedStatement),
      this.#pool.query<{
        enqueued: number;
        settledTwice: number;
        recovered: number;
        crossTenant: number;
        repaired: number;
        abandoned: number;
      }>(jobsStatement),
    ]);
    const [row] = numbers.rows;
    return {
      ledger,
      jobs,
      inbox,
      unaccounted: unaccounted.rows[0]?.count ?? -1,
      enqueued: row?.enqueued ?? -1,
      settledTwice: row?.settledTwice ?? -1,
      recovered: row?.recovered ?? -1,
      crossTenant: row?.crossTenant ?? -1,
      repaired: row?.repaired ?? -1,
      abandoned: row?.abandoned ?? -1,
    };
  }
}
