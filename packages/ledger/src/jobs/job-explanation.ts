import type { DeadLetterReason } from "../dead-letters/dead-letter-store.ts";
import type { DeadLetterStatus } from "../dead-letters/dead-letter.ts";
import type { JobStatus } from "./job.ts";
import { priorityStep, runningOfType, settingsCte, tenantLimits } from "./limits.ts";
import type { JobProgress } from "./progress.ts";
import type { Scope } from "../database/tenant-scope.ts";

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
    | "paused"
    | "capped"
    | "rate_limited"
    | "waiting"
    | "running"
    | "lease_expired"
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
  /**
   * The operator's decision that holds it back while it is `paused`, `capped` or `rate_limited`; the pause that keeps
   * others from taking it over while it is `lease_expired`.
   */
  readonly heldBy: HoldingDecision | null;
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

/** A pause, a cap or a rate that keeps a due job waiting. */
export interface HoldingDecision {
  readonly kind: "QUEUE" | "TYPE" | "TENANT";
  /** The type or the tenant's id; `""` for the queue. */
  readonly subject: string;
  /** Of a pause. */
  readonly pausedBy: string | null;
  readonly pausedAt: Date | null;
  readonly pauseReason: string | null;
  /** Most jobs running at a time, of a cap. */
  readonly maxRunning: number | null;
  /** Of a rate. */
  readonly rate: { readonly jobs: number; readonly periodMs: number } | null;
}

// The first that holds: what is paused, then what is full. Another tenant's rows may be out of sight here, and
// with them what runs of a type: a tenant is told that it waits.
const heldBy = `
SELECT "held"."cause", "held"."kind", "held"."subject", "held"."maxRunning", "held"."rate", "p"."paused_by" AS "pausedBy",
  "p"."paused_at" AS "pausedAt", "p"."pause_reason" AS "pauseReason"
FROM (
  SELECT CASE "kind" WHEN 'QUEUE' THEN 1 WHEN 'TYPE' THEN 2 ELSE 3 END AS "place", 'paused' AS "cause",
    "kind", "subject", NULL::int AS "maxRunning", NULL::jsonb AS "rate"
  FROM "evenkeel"."background_job_limit"
  WHERE "paused" AND ("kind", "subject") IN
    (('QUEUE', ''), ('TYPE', "j"."type"), ('TENANT', "j"."tenantId"))
  UNION ALL
  SELECT 4, 'capped', "kind", "subject", "max_running", NULL
  FROM "evenkeel"."background_job_limit"
  WHERE "kind" = 'TYPE' AND "subject" = "j"."type"
    AND ${runningOfType(`"j"."type"`, `"max_running"`)} >= "max_running"
  UNION ALL
  SELECT 5, CASE WHEN "t"."running" >= "t"."max_running" THEN 'capped' ELSE 'rate_limited' END, 'TENANT',
    "j"."tenantId", CASE WHEN "t"."running" >= "t"."max_running" THEN "t"."max_running" END,
    CASE WHEN "t"."spent" >= "t"."rate_limit" AND ("t"."running" >= "t"."max_running") IS NOT TRUE
      THEN jsonb_build_object('jobs', "t"."rate_limit", 'periodMs', "t"."rate_period_ms") END
  FROM ${tenantLimits(`"j"."tenantId"`)} AS "t" WHERE "t"."room" <= 0
) AS "held"
LEFT JOIN "evenkeel"."background_job_limit" AS "p"
  ON "held"."cause" = 'paused' AND "p"."kind" = "held"."kind" AND "p"."subject" = "held"."subject"
WHERE ("j"."status" = 'PENDING' AND "j"."runAt" <= now()) OR ("j"."hasExpired" AND "held"."cause" = 'paused')
ORDER BY "held"."place" LIMIT 1`;

const statement = `
WITH ${settingsCte}
SELECT "j".*, "j"."id"::text AS "id", (extract(epoch FROM "j"."runAt" - now()) * 1000)::float8 AS "dueInMs",
  "ahead"."count" AS "ahead", "letter"."id"::text AS "letterId",
  "letter"."reason" AS "letterReason", "letter"."status"::text AS "letterStatus",
  "held"."cause" AS "heldCause", "held"."kind"::text AS "heldKind", "held"."subject" AS "heldSubject",
  "held"."maxRunning", "held"."rate", "held"."pausedBy", "held"."pausedAt", "held"."pauseReason"
FROM (
  SELECT "id", "tenant_id" AS "tenantId", "type", "lane", "state"::text AS "status", "priority",
    "run_at" AS "runAt", "attempt", "owner", "progress",
    "lease_expires_at" AS "leaseUntil", "lease_expires_at" <= now() AS "hasExpired",
    "errors"->-1->>'code' AS "lastErrorCode", NULL::timestamptz AS "finishedAt"
  FROM "evenkeel"."background_job" WHERE "id" = $1::bigint AND :tenant("tenant_id")
  UNION ALL
  SELECT "id", "tenant_id", "type", "lane", "outcome"::text, "priority",
    "run_at", "attempt", NULL, NULL, NULL, NULL,
    "errors"->-1->>'code', "finished_at"
  FROM "evenkeel"."background_job_history" WHERE "id" = $1::bigint AND :tenant("tenant_id")
) AS "j"
CROSS JOIN LATERAL (
  SELECT count(*)::int AS "count" FROM (
    SELECT
    -- One range of the index per priority.
    FROM generate_series(-10, 10) AS "level" ("priority")
    CROSS JOIN "evenkeel"."background_job" AS "o"
    WHERE "j"."status" = 'PENDING' AND "j"."runAt" <= now() AND "o"."state" = 'PENDING' AND "o"."lane" = "j"."lane"
      AND "o"."type" = "j"."type" AND "o"."tenant_id" = "j"."tenantId" AND "o"."run_at" <= now()
      AND "o"."priority" = "level"."priority" AND ("o"."run_at", "o"."id")
        < ("j"."runAt" + ("level"."priority" - "j"."priority") * ${priorityStep}, "j"."id")
    LIMIT 10000
  ) AS "earlier"
) AS "ahead"
LEFT JOIN LATERAL (${heldBy}) AS "held" ON true
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
  readonly hasExpired: boolean | null;
  readonly lastErrorCode: string | null;
  readonly finishedAt: Date | null;
  readonly ahead: number;
  readonly heldCause: "paused" | "capped" | "rate_limited" | null;
  readonly heldKind: HoldingDecision["kind"];
  readonly heldSubject: string;
  readonly maxRunning: number | null;
  readonly rate: HoldingDecision["rate"];
  readonly pausedBy: string | null;
  readonly pausedAt: Date | null;
  readonly pauseReason: string | null;
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
    heldBy: row.heldCause === null ? null : toDecision(row),
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

function toDecision(row: Row): HoldingDecision {
  const { heldKind: kind, heldSubject: subject, pausedBy, pausedAt, pauseReason } = row;
  return {
    kind,
    subject,
    pausedBy,
    pausedAt,
    pauseReason,
    maxRunning: row.maxRunning,
    rate: row.rate,
  };
}

/** What holds a due job back, as a sentence. */
function describeHold(row: Row): string {
  const { heldKind, heldSubject, pausedBy, pausedAt, pauseReason, maxRunning, rate } = row;
  const subject =
    heldKind === "QUEUE"
      ? "the queue"
      : `${heldKind === "TYPE" ? "type" : "tenant"} ${heldSubject}`;
  if (row.heldCause === "paused") {
    const because = pauseReason === null ? "" : `: ${pauseReason}`;
    return `${subject} is paused since ${pausedAt?.toISOString() ?? ""} by ${pausedBy ?? ""}${because}`;
  }
  if (rate !== null) return `${subject} may start ${rate.jobs} jobs in ${rate.periodMs} ms`;
  return `${subject} may run ${maxRunning ?? 0} jobs at a time`;
}

/** Who takes over a job whose lease expired. Caps are not in the way: it counts as running. */
function describeTakeover(row: Row, types: readonly string[] | undefined): string {
  if (types !== undefined && !types.includes(row.type)) {
    return `no handler here knows jobs of type ${row.type}`;
  }
  if (row.heldCause !== null) return `nobody takes it over while ${describeHold(row)}`;
  return "the next claim takes it over";
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
      if (row.heldCause !== null) {
        const summary = `It is due since ${due}, and ${describeHold(row)}; ${row.ahead} due jobs of its tenant and type are ahead of it.${failed}`;
        return { cause: row.heldCause, summary };
      }
      const summary = `It is due since ${due} and waits for a runner; ${row.ahead} due jobs of its tenant and type are ahead of it.${failed}`;
      return { cause: "waiting", summary };
    }
    case "RUNNING": {
      const done =
        row.progress === null ? "" : `, ${row.progress.done} of ${row.progress.total} done`;
      const [owner, until] = [row.owner ?? "", row.leaseUntil?.toISOString() ?? ""];
      return row.hasExpired === true
        ? {
            cause: "lease_expired",
            summary: `Its worker ${owner} fell silent and its lease ended at ${until}; ${describeTakeover(row, types)}.`,
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
