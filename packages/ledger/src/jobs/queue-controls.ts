import { parseTenantId } from "@evenkeel/core";

import type { SqlClient, SqlValue } from "../database/database.ts";
import { LedgerError } from "../database/ledger-error.ts";
import { defineStatement, type Statement } from "../database/statement.ts";

/** What can be paused: the whole queue, a type in it, or a tenant. */
export type PauseSubject = "queue" | { readonly type: string } | { readonly tenantId: string };

/** What can be limited: a type, a tenant, or every tenant by itself that has no limit of its own. */
export type LimitSubject =
  | { readonly type: string }
  | { readonly tenantId: string }
  | "every-tenant";

/** New limits. */
export interface LimitChange {
  /** Most of its jobs running at a time, over all hosts: 1 to 10,000. Absent: as before. `null`: no limit. */
  readonly maxRunning?: number | null;
  /**
   * Most of its jobs started in any period: 1 to 1,000,000 in 1,000 to 86,400,000 ms. For tenants only, not for a type.
   * Absent: as before. `null`: no limit.
   */
  readonly rate?: { readonly jobs: number; readonly periodMs: number } | null;
}

/** What holds for one subject: a pause, a cap, a rate, or several of them. */
export interface QueueLimit {
  readonly kind: "QUEUE" | "TYPE" | "TENANT" | "EVERY_TENANT";
  /** The type or the tenant's id; `""` for the queue and for every tenant. */
  readonly subject: string;
  readonly paused: boolean;
  readonly pausedAt: Date | null;
  readonly pausedBy: string | null;
  readonly pauseReason: string | null;
  readonly maxRunning: number | null;
  readonly rate: { readonly jobs: number; readonly periodMs: number } | null;
}

/**
 * The queue as an operator decides about it. Decisions are kept in the ledger: they hold on every host from its
 * next claim on, across deploys, until an operator changes them. What runs already may end. Each is audited.
 */
export interface OperatorQueue {
  /** Keeps jobs from being claimed, until they are resumed. Pausing again keeps the first time. */
  pause(subject: PauseSubject, decision?: { readonly reason?: string }): Promise<QueueLimit>;
  /** Ends a pause. What was not paused stays as it is; the decision is audited all the same. */
  resume(subject: PauseSubject, decision?: { readonly reason?: string }): Promise<QueueLimit>;
  /**
   * Sets caps and rates. A cap counts what runs at that moment; jobs that were being claimed or renewed at that
   * moment count from their next heartbeat on.
   *
   * @throws LedgerError `invalid_limit` for a number out of its range, or a rate of a type.
   */
  limit(
    subject: LimitSubject,
    change: LimitChange,
    decision?: { readonly reason?: string },
  ): Promise<QueueLimit>;
  /** Returns every pause, cap and rate, by kind and subject. */
  limits(): Promise<QueueLimit[]>;
}

const columns = `kind::text, subject, paused, paused_at AS "pausedAt", paused_by AS "pausedBy",
  pause_reason AS "pauseReason", max_running AS "maxRunning",
  CASE WHEN rate_limit IS NOT NULL
    THEN jsonb_build_object('jobs', rate_limit, 'periodMs', rate_period_ms) END AS rate`;

/** What the audit keeps of a row. */
const recorded = `jsonb_build_object('paused', paused, 'maxRunning', max_running, 'rateLimit', rate_limit,
  'ratePeriodMs', rate_period_ms)`;

const previous = `previous AS (
  SELECT ${recorded} AS state FROM evenkeel.background_job_limit
  WHERE kind = :kind::text::evenkeel.job_limit_kind AND subject = :subject
)`;

/** The audit entry of an action, an expression over the parameters. */
const audit = (action: string): string => `audit AS (
  INSERT INTO evenkeel.background_audit_entry
    (actor, action, subject_kind, subject_id, tenant_id, before, after, reason)
  SELECT :actor, ${action}, lower(:kind::text), :subject, CASE WHEN :kind::text = 'TENANT' THEN :subject END,
    (SELECT state FROM previous), ${recorded}, :reason::text
  FROM decided
)`;

/** The parameters of every decision: what it is about, who decided, and why. */
type DecisionParameter = "kind" | "subject" | "actor" | "reason";

// clock_timestamp(), as a status is decided.
const pauseStatement = defineStatement<DecisionParameter | "paused">(`
WITH ${previous}, decided AS (
  INSERT INTO evenkeel.background_job_limit AS rule (kind, subject, paused, paused_at, paused_by, pause_reason)
  VALUES (:kind::text::evenkeel.job_limit_kind, :subject, :paused::boolean,
    CASE WHEN :paused::boolean THEN clock_timestamp() END, CASE WHEN :paused::boolean THEN :actor END,
    CASE WHEN :paused::boolean THEN :reason::text END)
  ON CONFLICT (kind, subject) DO UPDATE SET
    paused = EXCLUDED.paused,
    paused_at = CASE WHEN EXCLUDED.paused AND rule.paused THEN rule.paused_at ELSE EXCLUDED.paused_at END,
    paused_by = EXCLUDED.paused_by,
    pause_reason = EXCLUDED.pause_reason,
    updated_at = clock_timestamp()
  RETURNING *
), ${audit(`CASE WHEN :paused::boolean THEN 'queue.pause' ELSE 'queue.resume' END`)}
SELECT ${columns} FROM decided`);

// What runs already counts from now on. A row that is locked at this moment is on its way out, or counts from its next
// heartbeat on.
const limitStatement = defineStatement<
  | DecisionParameter
  | "changesMaxRunning"
  | "maxRunning"
  | "changesRate"
  | "rateLimit"
  | "ratePeriodMs"
>(`
WITH ${previous}, decided AS (
  INSERT INTO evenkeel.background_job_limit AS rule (kind, subject, max_running, rate_limit, rate_period_ms)
  VALUES (:kind::text::evenkeel.job_limit_kind, :subject, :maxRunning::int, :rateLimit::int, :ratePeriodMs::int)
  ON CONFLICT (kind, subject) DO UPDATE SET
    max_running = CASE WHEN :changesMaxRunning::boolean THEN EXCLUDED.max_running ELSE rule.max_running END,
    rate_limit = CASE WHEN :changesRate::boolean THEN EXCLUDED.rate_limit ELSE rule.rate_limit END,
    rate_period_ms = CASE WHEN :changesRate::boolean THEN EXCLUDED.rate_period_ms ELSE rule.rate_period_ms END,
    version = rule.version + 1,
    updated_at = clock_timestamp()
  RETURNING *
), running AS (
  SELECT job.id FROM evenkeel.background_job AS job
  WHERE :maxRunning::int IS NOT NULL AND job.state = 'RUNNING' AND NOT job.capped
    AND CASE :kind::text WHEN 'TYPE' THEN job.type = :subject WHEN 'TENANT' THEN job.tenant_id = :subject ELSE true END
  FOR UPDATE SKIP LOCKED
), counted AS (
  UPDATE evenkeel.background_job AS job SET capped = true FROM running WHERE job.id = running.id
), ${audit(`'queue.limit'`)}
SELECT ${columns} FROM decided`);

const listStatement = `
SELECT ${columns} FROM evenkeel.background_job_limit
WHERE paused OR max_running IS NOT NULL OR rate_limit IS NOT NULL
ORDER BY kind, subject`;

// Claims are shorter and cheaper while there is no row. One without a decision may still say what a tenant has spent of
// a rate that holds for every tenant; without such limits the rows of tenants met under them say nothing either.
const forgetStatement = `
DELETE FROM evenkeel.background_job_limit AS rule
WHERE NOT rule.paused AND rule.max_running IS NULL AND rule.rate_limit IS NULL AND (
  (rule.kind = $1::text::evenkeel.job_limit_kind AND rule.subject = $2 AND rule.spent = '{}')
  OR (rule.kind = 'TENANT' AND NOT EXISTS (SELECT FROM evenkeel.background_job_limit AS every
    WHERE every.kind = 'EVERY_TENANT' AND (every.max_running IS NOT NULL OR every.rate_limit IS NOT NULL)))
)`;

/** Returns the queue as one operator decides about it: every decision is audited under this name. */
export function createOperatorQueue(sql: SqlClient, actor: string): OperatorQueue {
  const decide = async <Name extends string>(
    statement: Statement<Name>,
    values: Readonly<Record<Name, SqlValue>>,
  ): Promise<QueueLimit> => {
    const [row] = await sql.query<QueueLimit>(statement.text, statement.values(values));
    if (row === undefined) throw new Error("A decision about the queue returned no row.");
    if (!row.paused && row.maxRunning === null && row.rate === null) {
      await sql.query(forgetStatement, [row.kind, row.subject]);
    }
    return row;
  };
  const pause = (subject: PauseSubject, paused: boolean, reason?: string): Promise<QueueLimit> =>
    decide(pauseStatement, { ...nameOf(subject), actor, reason: reason ?? null, paused });
  return {
    pause: (subject, { reason } = {}) => pause(subject, true, reason),
    resume: (subject, { reason } = {}) => pause(subject, false, reason),
    limit: async (subject, change, { reason } = {}) => {
      checkChange(subject, change);
      const { maxRunning, rate } = change;
      return decide(limitStatement, {
        ...nameOf(subject),
        actor,
        reason: reason ?? null,
        changesMaxRunning: maxRunning !== undefined,
        maxRunning: maxRunning ?? null,
        changesRate: rate !== undefined,
        rateLimit: rate?.jobs ?? null,
        ratePeriodMs: rate?.periodMs ?? null,
      });
    },
    limits: () => sql.query<QueueLimit>(listStatement),
  };
}

function nameOf(subject: PauseSubject | LimitSubject): Pick<QueueLimit, "kind" | "subject"> {
  if (subject === "queue") return { kind: "QUEUE", subject: "" };
  if (subject === "every-tenant") return { kind: "EVERY_TENANT", subject: "" };
  return "type" in subject
    ? { kind: "TYPE", subject: subject.type }
    : { kind: "TENANT", subject: parseTenantId(subject.tenantId) };
}

function checkChange(subject: LimitSubject, { maxRunning, rate }: LimitChange): void {
  const isWhole = (value: number, min: number, max: number): boolean =>
    Number.isInteger(value) && value >= min && value <= max;
  const problem =
    maxRunning !== undefined && maxRunning !== null && !isWhole(maxRunning, 1, 10_000)
      ? "maxRunning must be a whole number from 1 to 10,000; to let nothing run, pause it"
      : rate === undefined || rate === null
        ? undefined
        : typeof subject === "object" && "type" in subject
          ? "a rate is of a tenant or of every tenant, not of a type"
          : !isWhole(rate.jobs, 1, 1_000_000)
            ? "rate.jobs must be a whole number from 1 to 1,000,000"
            : !isWhole(rate.periodMs, 1_000, 86_400_000)
              ? "rate.periodMs must be a whole number from 1,000 to 86,400,000"
              : undefined;
  if (problem !== undefined) throw new LedgerError("invalid_limit", `Not a limit: ${problem}.`);
}
