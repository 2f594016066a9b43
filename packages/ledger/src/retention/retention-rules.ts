import type { RetentionPolicy } from "./retention-policy.ts";

/** Which rows of one table and status may go. */
export interface RetentionRule {
  readonly table: keyof RetentionPolicy;
  /** The policy's word for it. */
  readonly status: string;
  /** The table's name in Postgres. */
  readonly relation: string;
  /** The column that an index orders and that is never younger than the row's age. */
  readonly orderedBy: string;
  /** What else holds for a row that may go, over `candidate`. It repeats the literals of its index's predicate. */
  readonly where: string;
  /** What holds for a row that may go once {@link prepare} has run. A dry run, which runs none, leaves it out. */
  readonly unless?: string;
  /** A statement to run before: `$1` the age in seconds, `$2` the most rows. */
  readonly prepare?: string;
  /** Whether a row keeps something from happening twice: it stays as long as a repetition can come. */
  readonly isDedupe: boolean;
  /** The `table.status` that must not be kept longer: these rows wait for those to go. */
  readonly outlives?: string;
}

/**
 * The moment before which a row is old, of the database's clock. `$1` is the age in seconds. `now()` and
 * not `clock_timestamp()`: only a stable function can bound an index scan (see the rule at `SqlClient`).
 */
export const cutoff = `now() - $1::double precision * interval '1 second'`;

// Every EXISTS below ends with OFFSET 0: it stays a probe per row, and is never turned into a join that
// would read another table whole because the estimates are off.

/** No operator still has to decide about what failed here. */
function withoutOpenLetter(
  kind: "JOB" | "RUN" | "DISPATCH" | "EVENT",
  sourceId: string,
  sourceCreatedAt?: string,
): string {
  const isOfSource =
    sourceCreatedAt === undefined ? "" : ` AND letter.source_created_at = ${sourceCreatedAt}`;
  return `NOT EXISTS (
    SELECT FROM evenkeel.background_dead_letter AS letter
    WHERE letter.kind = '${kind}' AND letter.source_id = ${sourceId}${isOfSource} AND letter.status = 'OPEN'
    OFFSET 0
  )`;
}

/** The run `r` may still write: a stale one until it was silent for as long as the row is kept. */
const runIsUnsettled = `(run.status = 'RUNNING'
      OR (run.status = 'STALE' AND run.heartbeat_at >= ${cutoff}))`;

// A window's age counts from its end: until then ticks belong to it, and windows of a cron schedule may be
// weeks long. The newest window of a schedule stays: it tells the watchdog where to continue.
const windowIsOver = `candidate.updated_at < ${cutoff}
  AND candidate.window_start + candidate.window_seconds * interval '1 second' < ${cutoff}
  AND candidate.window_start < (
    SELECT newest.window_start FROM evenkeel.background_dispatch_window AS newest
    WHERE newest.schedule = candidate.schedule ORDER BY newest.window_start DESC LIMIT 1
  )
  AND NOT EXISTS (
    SELECT FROM evenkeel.background_function_run AS run
    WHERE run.dispatch_key = candidate.dispatch_key AND ${runIsUnsettled}
    OFFSET 0
  )
  AND ${withoutOpenLetter("DISPATCH", "candidate.dispatch_key")}`;

const windowIsGone = `NOT EXISTS (
    SELECT FROM evenkeel.background_dispatch_window AS dispatch_window
    WHERE dispatch_window.dispatch_key = candidate.dispatch_key
    OFFSET 0
  )`;

// A run goes after the guard that names it: a guard asks how its holder ended before it gives way.
const runIsOver = `${windowIsGone}
  AND NOT EXISTS (
    SELECT FROM evenkeel.background_dispatch_guard AS guard
    WHERE guard.function_id = candidate.function_id AND guard.dispatch_key = candidate.dispatch_key
      AND guard.continuation = candidate.continuation AND guard.run_id = candidate.run_id
    OFFSET 0
  )
  AND ${withoutOpenLetter("RUN", "candidate.run_id")}`;

function windows(status: keyof RetentionPolicy["windows"], orderedBy: string): RetentionRule {
  return {
    table: "windows",
    status,
    relation: "background_dispatch_window",
    orderedBy,
    where: `candidate.status = '${status}' AND ${windowIsOver}`,
    isDedupe: true,
  };
}

function runs(
  status: keyof RetentionPolicy["runs"],
  orderedBy: "finished_at" | "heartbeat_at" = "finished_at",
): RetentionRule {
  return {
    table: "runs",
    status,
    relation: "background_function_run",
    orderedBy,
    where: `candidate.status = '${status}' AND ${runIsOver}`,
    isDedupe: true,
    outlives: "guards.TAKEN",
  };
}

/** The key `held` is that of the ended job `candidate`, may still hold by its period, and does not know how that ended. */
const needsOutcome = `held.tenant_id = candidate.tenant_id AND held.type = candidate.type
      AND held.unique_key = candidate.unique_key AND held.job_id = candidate.id
      AND held.outcome IS NULL AND held.kept_until > now()`;

function jobHistory(status: keyof RetentionPolicy["jobHistory"]): RetentionRule {
  const where = `candidate.outcome = '${status}' AND ${withoutOpenLetter("JOB", "candidate.id::text", "candidate.created_at")}`;
  return {
    table: "jobHistory",
    status,
    relation: "background_job_history",
    orderedBy: "finished_at",
    where,
    // Keys that hold for a period outlast the history: they take over how their jobs ended.
    prepare: `
UPDATE evenkeel.background_job_unique_key AS key SET outcome = '${status}'
WHERE key.ctid = ANY (ARRAY(
  SELECT held.ctid FROM evenkeel.background_job_history AS candidate
  CROSS JOIN LATERAL (
    SELECT held.ctid FROM evenkeel.background_job_unique_key AS held WHERE ${needsOutcome}
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS held
  WHERE candidate.finished_at < ${cutoff} AND candidate.unique_key IS NOT NULL AND ${where}
  ORDER BY candidate.finished_at LIMIT $2::int
))`,
    unless: `(candidate.unique_key IS NULL OR NOT EXISTS (
    SELECT FROM evenkeel.background_job_unique_key AS held WHERE ${needsOutcome}
    OFFSET 0
  ))`,
    isDedupe: false,
  };
}

function deadLetters(status: keyof RetentionPolicy["deadLetters"]): RetentionRule {
  return {
    table: "deadLetters",
    status,
    relation: "background_dead_letter",
    orderedBy: "resolved_at",
    where: `candidate.status = '${status}'`,
    // A failure that is reported again finds its letter.
    isDedupe: true,
  };
}

function outbox(status: keyof RetentionPolicy["outbox"]): RetentionRule {
  return {
    table: "outbox",
    status,
    relation: "background_outbox_event",
    orderedBy: "settled_at",
    where: `candidate.status = '${status}' AND candidate.settled_at IS NOT NULL
  AND ${withoutOpenLetter("EVENT", "candidate.event_id")}`,
    // An event that is added again finds its id.
    isDedupe: true,
  };
}

/**
 * Every rule, in the order in which they are applied: what waits for other rows comes before them. So no
 * rule's answer depends on what the same call deletes, and a dry run says what the call would do.
 */
export const retentionRules: readonly RetentionRule[] = [
  runs("SUCCEEDED"),
  runs("FAILED"),
  runs("CANCELLED"),
  runs("SKIPPED_DUPLICATE"),
  runs("STALE", "heartbeat_at"),
  {
    table: "guards",
    status: "TAKEN",
    relation: "background_dispatch_guard",
    orderedBy: "taken_at",
    where: `${windowIsGone}
  AND NOT EXISTS (
    SELECT FROM evenkeel.background_function_run AS run
    WHERE run.dispatch_key = candidate.dispatch_key AND run.function_id = candidate.function_id
      AND ${runIsUnsettled}
    OFFSET 0
  )`,
    isDedupe: true,
    outlives: "windows.ENQUEUED",
  },
  windows("ENQUEUED", "enqueued_at"),
  windows("INLINE_EMERGENCY", "window_start"),
  windows("MISSED", "window_start"),
  windows("SKIPPED_OVERLAP", "window_start"),
  jobHistory("SUCCEEDED"),
  jobHistory("DEAD"),
  jobHistory("CANCELLED"),
  {
    table: "effects",
    status: "RECORDED",
    relation: "background_effect",
    orderedBy: "started_at",
    // A job that waits or runs asks for what it did before, and so does one that an operator requeues.
    where: `NOT EXISTS (
    SELECT FROM evenkeel.background_job AS job
    WHERE job.id = candidate.job_id AND job.created_at = candidate.job_created_at
    OFFSET 0
  )
  AND ${withoutOpenLetter("JOB", "candidate.job_id::text", "candidate.job_created_at")}`,
    isDedupe: false,
  },
  {
    table: "uniqueKeys",
    status: "RECORDED",
    relation: "background_job_unique_key",
    orderedBy: "kept_until",
    // Nobody holds it any more, whatever is asked. The second asks whether the row is the one that the first was asked
    // of: a job that took the key since then is none that this statement sees.
    where: `NOT EXISTS (
    SELECT FROM evenkeel.background_job AS job WHERE job.id = candidate.job_id
    OFFSET 0
  )
  AND EXISTS (
    SELECT FROM evenkeel.background_job_unique_key AS seen
    WHERE seen.tenant_id = candidate.tenant_id AND seen.type = candidate.type
      AND seen.unique_key = candidate.unique_key AND seen.job_id = candidate.job_id
    OFFSET 0
  )`,
    isDedupe: false,
  },
  {
    table: "limits",
    status: "MET",
    relation: "background_job_limit",
    // Not ordered by an index, which every claim under limits would have to change: there is a row per tenant at most.
    orderedBy: "updated_at",
    // What a tenant spent of a rate counts for a day and a tenth. A claim gives it another row when it is met again.
    where: `candidate.kind = 'TENANT' AND NOT candidate.paused AND candidate.max_running IS NULL
  AND candidate.rate_limit IS NULL AND candidate.updated_at < now() - interval '27 hours'`,
    isDedupe: true,
  },
  deadLetters("REQUEUED"),
  deadLetters("DISCARDED"),
  outbox("SENT"),
  outbox("REFUSED"),
  {
    table: "audit",
    status: "RECORDED",
    relation: "background_audit_entry",
    orderedBy: "at",
    where: "true",
    isDedupe: false,
  },
];
