import type { Scope } from "../database/tenant-scope.ts";
import type { DeadLetterReason, DeadLetterStatus } from "../dead-letters/dead-letter.ts";
import type { JobStatus } from "./job.ts";
import type { JobProgress } from "./progress.ts";

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
    | "unserved"
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
  /** Milliseconds until it is due, by the database's clock; below 0 when it is due already. */
  readonly dueInMs: number;
  /** Due jobs of its tenant that are claimed before it, counted up to 10,000; 0 unless it is due. */
  readonly ahead: number;
  /** Attempts begun. */
  readonly attempt: number;
  /**
   * The operator's decision that keeps it waiting while it is `paused`, `capped` or `rate_limited`; the pause that keeps
   * others from taking it over while it is `lease_expired`.
   */
  readonly heldBy: HoldingDecision | null;
  readonly lease: { readonly owner: string; readonly until: Date } | null;
  /**
   * When a drain last said that it has a handler for this type and version, about once a minute. `null`: none did, or a
   * tenant asks. A due job is `unserved` when that was more than ten minutes ago.
   */
  readonly lastServedAt: Date | null;
  /** How far the attempt that runs or ran last is, by its handler. */
  readonly progress: JobProgress | null;
  /** The code of its last failed attempt; `null`: none failed. */
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
  /** Who paused it; `null` for a cap or a rate. */
  readonly pausedBy: string | null;
  readonly pausedAt: Date | null;
  readonly pauseReason: string | null;
  /** Most jobs running at a time; `null` for a pause or a rate. */
  readonly maxRunning: number | null;
  /** Most jobs started in any period; `null` for a pause or a cap. */
  readonly rate: { readonly jobs: number; readonly periodMs: number } | null;
}

// The first that applies: what is paused, then what is full. Row-level security may hide the rows of other tenants,
// and with them what runs of a type: a tenant is then told that its job waits.
const heldBy = `
SELECT held.cause, held.kind, held.subject, held.max_running, held.rate, pause.paused_by, pause.paused_at,
  pause.pause_reason
FROM (
  SELECT CASE kind WHEN 'QUEUE' THEN 1 WHEN 'TYPE' THEN 2 ELSE 3 END AS place, 'paused' AS cause, kind, subject,
    NULL::int AS max_running, NULL::jsonb AS rate
  FROM evenkeel.background_job_limit
  WHERE paused AND (kind, subject) IN (('QUEUE', ''), ('TYPE', job.type), ('TENANT', job.tenant_id))
  UNION ALL
  SELECT 4, 'capped', 'TYPE', job.type, type.max_running, NULL
  FROM evenkeel.room_of('TYPE', job.type) AS type WHERE type.room <= 0 AND NOT type.paused
  UNION ALL
  SELECT 5, CASE WHEN tenant.running >= tenant.max_running THEN 'capped' ELSE 'rate_limited' END, 'TENANT',
    job.tenant_id, CASE WHEN tenant.running >= tenant.max_running THEN tenant.max_running END,
    CASE WHEN tenant.spent >= tenant.rate_limit AND (tenant.running >= tenant.max_running) IS NOT TRUE
      THEN jsonb_build_object('jobs', tenant.rate_limit, 'periodMs', tenant.rate_period_ms) END
  FROM evenkeel.room_of('TENANT', job.tenant_id) AS tenant WHERE tenant.room <= 0 AND NOT tenant.paused
) AS held
LEFT JOIN evenkeel.background_job_limit AS pause
  ON held.cause = 'paused' AND pause.kind = held.kind AND pause.subject = held.subject
WHERE (job.status IN ('SCHEDULED', 'PENDING') AND job.run_at <= now()) OR (job.has_expired AND held.cause = 'paused')
ORDER BY held.place LIMIT 1`;

const statement = (servedBy: string): string => `
SELECT job.id::text, job.tenant_id AS "tenantId", job.type, job.version, job.status, job.run_at AS "runAt", job.attempt, job.owner,
  job.progress, job.lease_expires_at AS "leaseUntil", job.has_expired AS "hasExpired",
  job.started_at AS "startedAt",
  job.last_error_code AS "lastErrorCode", job.finished_at AS "finishedAt",
  (extract(epoch FROM job.run_at - now()) * 1000)::float8 AS "dueInMs", ahead.count AS ahead,
  letter.id::text AS "letterId", letter.reason AS "letterReason", letter.status::text AS "letterStatus",
  served.last_at AS "lastServedAt", served.newest_version AS "newestVersion",
  (extract(epoch FROM now() - served.last_at) * 1000)::float8 AS "unservedForMs",
  held.cause AS "heldCause", held.kind::text AS "heldKind", held.subject AS "heldSubject",
  held.max_running AS "maxRunning", held.rate, held.paused_by AS "pausedBy", held.paused_at AS "pausedAt",
  held.pause_reason AS "pauseReason"
FROM (
  SELECT job.id, job.tenant_id, job.bucket, job.type, job.version, job.state::text AS status, job.run_at, job.turn_at, job.attempt,
    job.owner, job.progress, job.created_at, job.started_at, job.lease_expires_at, job.lease_expires_at <= now() AS has_expired,
    job.errors -> -1 ->> 'code' AS last_error_code, NULL::timestamptz AS finished_at
  FROM evenkeel.background_job AS job WHERE job.id = $1::bigint AND :tenant(job.tenant_id)
  UNION ALL
  SELECT ended.id, ended.tenant_id, NULL, ended.type, ended.version, ended.outcome::text, ended.run_at, NULL, ended.attempt, NULL, NULL, ended.created_at, NULL,
    NULL, NULL,
    ended.errors -> -1 ->> 'code', ended.finished_at
  FROM evenkeel.background_job_history AS ended WHERE ended.id = $1::bigint AND :tenant(ended.tenant_id)
) AS job
CROSS JOIN LATERAL (
  SELECT count(*)::int AS count FROM (
    SELECT FROM evenkeel.background_job AS other
    WHERE job.status IN ('SCHEDULED', 'PENDING') AND job.run_at <= now() AND other.state = 'PENDING'
      AND other.bucket = job.bucket AND other.tenant_id = job.tenant_id
      AND (other.turn_at, other.id) < (job.turn_at, job.id)
    LIMIT 10000
  ) AS earlier
) AS ahead
LEFT JOIN LATERAL (${heldBy}) AS held ON true
LEFT JOIN LATERAL (
  SELECT letter.id, letter.reason, letter.status FROM evenkeel.background_dead_letter AS letter
  WHERE letter.kind = 'JOB' AND letter.source_id = job.id::text
    AND letter.source_created_at = job.created_at
  ORDER BY letter.created_at DESC LIMIT 1
) AS letter ON true
${servedBy}
-- An id may have been used before; the newest job of it is asked for.
ORDER BY job.finished_at IS NULL DESC, job.created_at DESC LIMIT 1`;

/** After how long without a drain a job is unserved, in milliseconds: as long as a host counts as one that serves a type. */
const unservedAfterMs = 600_000;

const served = `CROSS JOIN LATERAL (
  SELECT max(handler.seen_at) FILTER (WHERE handler.version >= job.version) AS last_at,
    max(handler.version) AS newest_version
  FROM evenkeel.background_job_handler AS handler WHERE handler.type = job.type
) AS served`;

/** Which drains come is nothing that a tenant may read. */
const statementFor = {
  operator: statement(served),
  tenant: statement(
    "CROSS JOIN (SELECT NULL::timestamptz AS last_at, NULL::int AS newest_version) AS served",
  ),
};

interface Row {
  readonly id: string;
  readonly tenantId: string;
  readonly type: string;
  readonly version: number;
  readonly status: JobStatus;
  readonly runAt: Date;
  readonly dueInMs: number;
  readonly attempt: number;
  readonly owner: string | null;
  readonly progress: JobProgress | null;
  readonly leaseUntil: Date | null;
  readonly hasExpired: boolean | null;
  readonly startedAt: Date | null;
  readonly lastErrorCode: string | null;
  readonly finishedAt: Date | null;
  readonly ahead: number;
  /** `undefined`: a tenant asks. */
  readonly lastServedAt: Date | null | undefined;
  readonly unservedForMs: number | null;
  /** The newest version of the type that any drain had a handler for. */
  readonly newestVersion: number | null;
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

/**
 * Returns why a job has not run, who runs it, or how it ended. `undefined`: it is not in this scope.
 *
 * @param types The types that the hosts have handlers for, to tell work that no host knows; `undefined`: all.
 * @param reader A tenant is told neither of its worker nor of the operator who paused, nor why.
 */
export async function explainJob(
  scope: Scope,
  id: string,
  types: readonly string[] | undefined,
  reader: "operator" | "tenant" = "operator",
): Promise<JobExplanation | undefined> {
  const [found] = await scope.query<Row>(statementFor[reader], [id]);
  if (found === undefined) return undefined;
  const nameless = { owner: null, pausedBy: null, pauseReason: null, lastServedAt: undefined };
  const row = reader === "operator" ? found : { ...found, ...nameless };
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
    lastServedAt: row.lastServedAt ?? null,
    lastErrorCode,
    finishedAt,
    heldBy: row.heldCause === null ? null : toDecision(row),
    lease:
      found.owner === null || found.leaseUntil === null
        ? null
        : { owner: row.owner ?? "", until: found.leaseUntil },
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

/** Describes the decision that keeps a job waiting, as part of a sentence. */
function describeDecision(row: Row): string {
  const { heldKind, heldSubject, pausedBy, pausedAt, pauseReason, maxRunning, rate } = row;
  const subject =
    heldKind === "QUEUE"
      ? "the queue"
      : `${heldKind === "TYPE" ? "type" : "tenant"} ${heldSubject}`;
  if (row.heldCause === "paused") {
    const because = pauseReason === null ? "" : `: ${pauseReason}`;
    const by = pausedBy === null ? "" : ` by ${pausedBy}`;
    return `${subject} is paused since ${pausedAt?.toISOString() ?? ""}${by}${because}`;
  }
  if (rate !== null) return `${subject} may start ${rate.jobs} jobs in ${rate.periodMs} ms`;
  return `${subject} may run ${maxRunning ?? 0} jobs at a time`;
}

/** Describes who takes over a job whose lease expired. It counts as running, so no cap keeps it waiting. */
function describeTakeover(row: Row, types: readonly string[] | undefined): string {
  if (types !== undefined && !types.includes(row.type)) {
    return `no handler here knows jobs of type ${row.type}`;
  }
  if (row.heldCause !== null) return `nobody takes it over while ${describeDecision(row)}`;
  if (isUnserved(row)) return `nobody takes it over, as ${describeAbsence(row)}`;
  return "the next claim takes it over";
}

/** Whether no drain that could run the job has come for ten minutes. */
function isUnserved({ lastServedAt, unservedForMs }: Row): boolean {
  if (lastServedAt === undefined) return false;
  return (unservedForMs ?? Number.POSITIVE_INFINITY) > unservedAfterMs;
}

/** Describes, as part of a sentence and with a sentence on what to do, that no drain comes for a job. */
function describeAbsence({
  type,
  version,
  lastServedAt,
  unservedForMs,
  newestVersion,
}: Row): string {
  const remedy = "Start a host whose runner has a handler for it, and see that its drains run.";
  if (lastServedAt !== null && lastServedAt !== undefined) {
    const since = `${describeAge(unservedForMs ?? 0)} (since ${lastServedAt.toISOString()})`;
    return `no drain with a handler for version ${version} of ${type} has come for ${since}. ${remedy}`;
  }
  if (newestVersion === null) {
    return `no drain with a handler for ${type} has ever come. ${remedy}`;
  }
  return `no drain with a handler for version ${version} of ${type} has ever come; the newest that drains know is ${newestVersion}. Deploy the hosts that run its jobs.`;
}

/** Returns a time that has passed in its natural unit, as in "for an hour". */
function describeAge(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return minutes === 1 ? "a minute" : `${minutes} minutes`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return hours === 1 ? "an hour" : `${hours} hours`;
  return `${Math.floor(hours / 24)} days`;
}

function explain(
  row: Row,
  types: readonly string[] | undefined,
): Pick<JobExplanation, "cause" | "summary"> {
  const { status, type, attempt, lastErrorCode } = row;
  const ended = row.finishedAt?.toISOString() ?? "";
  switch (status) {
    case "SCHEDULED":
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
        const summary = `It is due since ${due}, and ${describeDecision(row)}; ${row.ahead} due jobs of its tenant are ahead of it.${failed}`;
        return { cause: row.heldCause, summary };
      }
      if (isUnserved(row)) {
        return {
          cause: "unserved",
          summary: `It is due since ${due}, and ${describeAbsence(row)}${failed}`,
        };
      }
      const summary = `It is due since ${due} and waits for a runner; ${row.ahead} due jobs of its tenant are ahead of it.${failed}`;
      return { cause: "waiting", summary };
    }
    case "RUNNING": {
      const done =
        row.progress === null ? "" : `, ${row.progress.done} of ${row.progress.total} done`;
      const until = row.leaseUntil?.toISOString() ?? "";
      const owner = row.owner === null ? "" : ` ${row.owner}`;
      if (row.hasExpired === true) {
        const summary = `Its worker${owner} fell silent and its lease ended at ${until}; ${describeTakeover(row, types)}.`;
        return { cause: "lease_expired", summary };
      }
      const work =
        row.startedAt === null
          ? "holds it and has not started it"
          : `runs it, attempt ${attempt}${done}`;
      const summary = `${row.owner ?? "A worker"} ${work}, under a lease until ${until}.`;
      return { cause: "running", summary };
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
