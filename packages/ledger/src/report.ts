import type { SqlClient } from "./database/database.ts";
import { executesWindow } from "./windows/reconciliation.ts";
import type { PrismaClient } from "./generated/prisma/client.ts";
import type { RunStatus } from "./runs/run.ts";
import type { WindowStatus } from "./windows/window.ts";

/** Numbers over the whole ledger, for a report's end or an operator's first look. It reads every table. */
export interface LedgerReport {
  readonly windows: {
    readonly total: number;
    readonly byStatus: Readonly<Partial<Record<WindowStatus, number>>>;
    /** Ticks answered as duplicates. */
    readonly duplicates: number;
    /** Sends that failed. */
    readonly failures: number;
    /** Claims beyond each window's first: retries and take-overs. */
    readonly reclaims: number;
    /** Windows sent whose process run is not on record as started. */
    readonly neverStarted: number;
  };
  readonly runs: {
    readonly total: number;
    readonly byStatus: Readonly<Partial<Record<RunStatus, number>>>;
    /** Runs beyond the first that did the work of one window, function and continuation. Must be 0. */
    readonly duplicateForWindow: number;
  };
  readonly deadLetters: {
    readonly open: number;
    readonly byReason: Readonly<Record<string, number>>;
  };
}

/** Reads a {@link LedgerReport}. */
export async function readReport(prisma: PrismaClient, sql: SqlClient): Promise<LedgerReport> {
  const [windows, totals, runs, letters, [anomalies]] = await Promise.all([
    prisma.backgroundDispatchWindow.groupBy({ by: ["status"], _count: true }),
    prisma.backgroundDispatchWindow.aggregate({
      _sum: { duplicateCount: true, failureCount: true, claimCount: true },
      _count: true,
    }),
    prisma.backgroundFunctionRun.groupBy({ by: ["status"], _count: true }),
    prisma.backgroundDeadLetter.groupBy({
      by: ["reason"],
      where: { status: "OPEN" },
      _count: true,
    }),
    sql.query<{ duplicate_runs: number; never_started: number }>(anomaliesStatement),
  ]);
  return {
    windows: {
      total: totals._count,
      byStatus: Object.fromEntries(windows.map((group) => [group.status, group._count])),
      duplicates: totals._sum.duplicateCount ?? 0,
      failures: totals._sum.failureCount ?? 0,
      reclaims: (totals._sum.claimCount ?? 0) - totals._count,
      neverStarted: anomalies?.never_started ?? 0,
    },
    runs: {
      total: sum(runs),
      byStatus: Object.fromEntries(runs.map((group) => [group.status, group._count])),
      duplicateForWindow: anomalies?.duplicate_runs ?? 0,
    },
    deadLetters: {
      open: sum(letters),
      byReason: Object.fromEntries(letters.map((group) => [group.reason, group._count])),
    },
  };
}

function sum(groups: readonly { readonly _count: number }[]): number {
  return groups.reduce((total, group) => total + group._count, 0);
}

const anomaliesStatement = `
SELECT
  (SELECT coalesce(sum("runs" - 1), 0)::int FROM (
     SELECT count(*) AS "runs"
     FROM "evenkeel"."background_function_run" AS "r"
     WHERE ${executesWindow}
     GROUP BY "function_id", "dispatch_key", "continuation"
     HAVING count(*) > 1
   ) AS "repeated") AS "duplicate_runs",
  (SELECT count(*)::int
   FROM "evenkeel"."background_dispatch_window" AS "w"
   WHERE "w"."status" = 'ENQUEUED' AND NOT EXISTS (
     SELECT 1 FROM "evenkeel"."background_function_run" AS "r"
     WHERE "r"."dispatch_key" = "w"."dispatch_key"
       AND "r"."event_name" = 'background/process.requested'
   )) AS "never_started"`;
