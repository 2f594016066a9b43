import type { DeadLetterReason } from "../dead-letters.ts";
import type { DeadLetterStatus } from "../dead-letter-lifecycle.ts";
import type { JobStatus } from "../job-store-lifecycle.ts";
import type { JobProgress } from "../job-store-progress.ts";
import type { Scope } from "./scope.ts";

/** Why a job is where it is. */
export interface JobExplanation {
  readonly id: string;
  readonly type: string;
  readonly tenantId: string;
  readonly status: JobStatus;
  /** One sentence for people. */
  readonly summary: string;
  readonly cause:
    | "scheduled"
    | "unknown_type"
    | "waiting"
    | "running"
    | "lease_lapsed"
    | "succeeded"
    | "dead"
    | "cancelled";
  readonly runAt: Date;
  /** Milliseconds of the database's clock until it is due; below 0 when it is due already. */
  readonly dueInMs: number;
  /** Due jobs of its tenant, type and lane that are claimed before it, counted up to 10,000; 0 unless it is due. */
  readonly ahead: number;
  /** Attempts begun. */
  readonly attempt: number;
  readonly lease: { readonly owner: string; readonly until: Date } | null;
  /** How far its handler said it was, in the attempt that runs or ran last. */
  readonly progress: JobProgress | null;
  /** The code of its last failed attempt. */
  readonly lastErrorCode: string | null;
  readonly finishedAt: Date | null;
  readonly deadLetter: {
    readonly id: string;
    readonly reason: DeadLetterReason;
    readonly status: DeadLetterStatus;
  } | null;
}

const statement = `
SELECT "j".*, "j"."id"::text AS "id", (extract(epoch FROM "j"."runAt" - now()) * 1000)::float8 AS "dueInMs",
  "ahead"."count" AS "ahead", "letter"."id"::text AS "letterId",
  "letter"."reason" AS "letterReason", "letter"."status"::text AS "letterStatus"
FROM (
  SELECT "id", "tenant_id" AS "tenantId", "type", "lane", "state"::text AS "status", "run_at" AS "runAt",
    "attempt", "owner", "progress",
    "lease_expires_at" AS "leaseUntil", "lease_expires_at" <= now() AS "hasLapsed",
    "errors"->-1->>'code' AS "lastErrorCode", NULL::timestamptz AS "finishedAt"
  FROM "evenkeel"."background_job" WHERE "id" = $1::bigint AND :tenant("tenant_id")
  UNION ALL
  SELECT "id", "tenant_id", "type", "lane", "outcome"::text, "run_at",
    "attempt", NULL, NULL, NULL, NULL,
    "errors"->-1->>'code', "finished_at"
  FROM "evenkeel"."background_job_history" WHERE "id" = $1::bigint AND :tenant("tenant_id")
) AS "j"
CROSS JOIN LATERAL (
  SELECT count(*)::int AS "count" FROM (
    SELECT FROM "evenkeel"."background_job" AS "o"
    WHERE "j"."status" = 'PENDING' AND "j"."runAt" <= now() AND "o"."state" = 'PENDING' AND "o"."lane" = "j"."lane"
      AND "o"."type" = "j"."type" AND "o"."tenant_id" = "j"."tenantId" AND "o"."run_at" <= now()
      AND ("o"."run_at", "o"."id") < ("j"."runAt", "j"."id")
    LIMIT 10000
  ) AS "earlier"
) AS "ahead"
LEFT JOIN LATERAL (
  SELECT "d"."id", "d"."reason", "d"."status" FROM "evenkeel"."background_dead_letter" AS "d"
  WHERE "d"."kind" = 'JOB' AND "d"."source_id" = "j"."id"::text
  ORDER BY "d"."created_at" DESC LIMIT 1
) AS "letter" ON true`;

interface Row {
  readonly id: string;
  readonly tenantId: string;
  readonly type: string;
  readonly status: JobStatus;
  readonly runAt: Date;
  readonly dueInMs: number;
  readonly attempt: number;
  readonly owner: string | null;
  readonly progress: JobProgress | null;
  readonly leaseUntil: Date | null;
  readonly hasLapsed: boolean | null;
  readonly lastErrorCode: string | null;
  readonly finishedAt: Date | null;
  readonly ahead: number;
  readonly letterId: string | null;
  readonly letterReason: DeadLetterReason;
  readonly letterStatus: DeadLetterStatus;
}

/** See `ScopedJobs.explain`. */
export async function explainJob(
  scope: Scope,
  id: string,
  types: readonly string[] | undefined,
): Promise<JobExplanation | undefined> {
  const [row] = await scope.query<Row>(statement, [id]);
  if (row === undefined) return undefined;
  const { tenantId, type, status, runAt, dueInMs, attempt, ahead, lastErrorCode, finishedAt } = row;
  return {
    id,
    tenantId,
    type,
    status,
    ...explain(row, types),
    runAt,
    dueInMs,
    attempt,
    ahead,
    progress: row.progress,
    lastErrorCode,
    finishedAt,
    lease:
      row.owner === null || row.leaseUntil === null
        ? null
        : { owner: row.owner, until: row.leaseUntil },
    deadLetter:
      row.letterId === null
        ? null
        : { id: row.letterId, reason: row.letterReason, status: row.letterStatus },
  };
}

function explain(
  row: Row,
  types: readonly string[] | undefined,
): Pick<JobExplanation, "cause" | "summary"> {
  const { status, type, attempt, lastErrorCode } = row;
  const ended = row.finishedAt?.toISOString() ?? "";
  switch (status) {
    case "PENDING": {
      const due = row.runAt.toISOString();
      const failed =
        lastErrorCode === null ? "" : ` Attempt ${attempt} failed with ${lastErrorCode}.`;
      if (row.dueInMs > 0) {
        const seconds = Math.ceil(row.dueInMs / 1_000);
        return { cause: "scheduled", summary: `It is due at ${due}, in ${seconds} s.${failed}` };
      }
      if (types !== undefined && !types.includes(type)) {
        const summary = `It is due since ${due}, and no handler here knows jobs of type ${type}.`;
        return { cause: "unknown_type", summary };
      }
      const summary = `It is due since ${due} and waits for a runner; ${row.ahead} due jobs of its tenant and type are ahead of it.${failed}`;
      return { cause: "waiting", summary };
    }
    case "RUNNING": {
      const done =
        row.progress === null ? "" : `, ${row.progress.done} of ${row.progress.total} done`;
      const [owner, until] = [row.owner ?? "", row.leaseUntil?.toISOString() ?? ""];
      return row.hasLapsed === true
        ? {
            cause: "lease_lapsed",
            summary: `Its worker ${owner} fell silent and its lease ended at ${until}; the next claim takes it over.`,
          }
        : {
            cause: "running",
            summary: `${owner} runs it, attempt ${attempt}${done}, under a lease until ${until}.`,
          };
    }
    case "SUCCEEDED":
      return { cause: "succeeded", summary: `It succeeded at ${ended} in attempt ${attempt}.` };
    case "CANCELLED":
      return { cause: "cancelled", summary: `It was cancelled at ${ended}.` };
    case "DEAD": {
      const letter =
        row.letterId === null
          ? "its dead letter is gone"
          : `dead letter ${row.letterId} (${row.letterReason}) is ${row.letterStatus}`;
      return {
        cause: "dead",
        summary: `It died at ${ended} in attempt ${attempt}; ${letter}.`,
      };
    }
  }
}
