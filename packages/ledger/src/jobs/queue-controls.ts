import { parseTenantId } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { LedgerError } from "../database/ledger-error.ts";

/** What can be paused: the whole queue, a type in it, or a tenant. */
export type PauseSubject = "queue" | { readonly type: string } | { readonly tenantId: string };

/** What can be limited: a type, a tenant, or every tenant by itself that has no limit of its own. */
export type LimitSubject =
  | { readonly type: string }
  | { readonly tenantId: string }
  | "every-tenant";

/** New limits. What is absent stays as it is; `null` takes a limit away. */
export interface LimitChange {
  /** Most of its jobs running at a time, over all hosts: 1 to 10,000. */
  readonly maxRunning?: number | null;
  /** Most of its jobs started in any period. Of tenants alone. */
  readonly rate?: { readonly jobs: number; readonly periodMs: number } | null;
}

/** A decision about the queue, as it stands. */
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
  /** Keeps jobs from being claimed. Pausing again keeps the first time. */
  pause(subject: PauseSubject, decision?: { readonly reason?: string }): Promise<QueueLimit>;
  resume(subject: PauseSubject, decision?: { readonly reason?: string }): Promise<QueueLimit>;
  /**
   * Sets caps and rates. A cap counts what runs at that moment; jobs that were being claimed or renewed at that
   * moment count from their next heartbeat on.
   *
   * @throws LedgerError `invalid_limit`.
   */
  limit(
    subject: LimitSubject,
    change: LimitChange,
    decision?: { readonly reason?: string },
  ): Promise<QueueLimit>;
  /** Every pause, cap and rate. */
  limits(): Promise<QueueLimit[]>;
}

const columns = `"kind"::text, "subject", "paused", "paused_at" AS "pausedAt", "paused_by" AS "pausedBy",
  "pause_reason" AS "pauseReason", "max_running" AS "maxRunning",
  CASE WHEN "rate_limit" IS NOT NULL
    THEN jsonb_build_object('jobs', "rate_limit", 'periodMs', "rate_period_ms") END AS "rate"`;

/** What the audit keeps of a row. */
const recorded = `jsonb_build_object('paused', "paused", 'maxRunning', "max_running", 'rateLimit', "rate_limit",
  'ratePeriodMs', "rate_period_ms")`;

const before = `"before" AS (
  SELECT ${recorded} AS "state" FROM "evenkeel"."background_job_limit"
  WHERE "kind" = $1::text::evenkeel.job_limit_kind AND "subject" = $2
)`;

/** The audit entry of an action, an expression over the parameters. */
const audit = (action: string): string => `"audit" AS (
  INSERT INTO "evenkeel"."background_audit_entry"
    ("actor", "action", "subject_kind", "subject_id", "tenant_id", "before", "after", "reason")
  SELECT $3, ${action}, lower($1::text), $2, CASE WHEN $1::text = 'TENANT' THEN $2 END, (SELECT "state" FROM "before"),
    ${recorded}, $4::text
  FROM "decided"
)`;

const pauseStatement = `
WITH ${before}, "decided" AS (
  INSERT INTO "evenkeel"."background_job_limit" AS "l"
    ("kind", "subject", "paused", "paused_at", "paused_by", "pause_reason")
  VALUES ($1::text::evenkeel.job_limit_kind, $2, $5::boolean, CASE WHEN $5::boolean THEN clock_timestamp() END,
    CASE WHEN $5::boolean THEN $3 END, CASE WHEN $5::boolean THEN $4::text END)
  ON CONFLICT ("kind", "subject") DO UPDATE SET
    "paused" = excluded."paused",
    "paused_at" = CASE WHEN excluded."paused" AND "l"."paused" THEN "l"."paused_at" ELSE excluded."paused_at" END,
    "paused_by" = excluded."paused_by",
    "pause_reason" = excluded."pause_reason",
    "updated_at" = clock_timestamp()
  RETURNING *
), ${audit(`CASE WHEN $5::boolean THEN 'queue.pause' ELSE 'queue.resume' END`)}
SELECT ${columns} FROM "decided"`;

// What runs already counts from now on. A row that is locked at this moment is on its way out, or counts from its next
// heartbeat on.
const limitStatement = `
WITH ${before}, "decided" AS (
  INSERT INTO "evenkeel"."background_job_limit" AS "l"
    ("kind", "subject", "max_running", "rate_limit", "rate_period_ms")
  VALUES ($1::text::evenkeel.job_limit_kind, $2, $6::int, $8::int, $9::int)
  ON CONFLICT ("kind", "subject") DO UPDATE SET
    "max_running" = CASE WHEN $5::boolean THEN excluded."max_running" ELSE "l"."max_running" END,
    "rate_limit" = CASE WHEN $7::boolean THEN excluded."rate_limit" ELSE "l"."rate_limit" END,
    "rate_period_ms" = CASE WHEN $7::boolean THEN excluded."rate_period_ms" ELSE "l"."rate_period_ms" END,
    "version" = "l"."version" + 1,
    "updated_at" = clock_timestamp()
  RETURNING *
), "running" AS (
  SELECT "j"."id" FROM "evenkeel"."background_job" AS "j"
  WHERE $6::int IS NOT NULL AND "j"."state" = 'RUNNING' AND NOT "j"."capped"
    AND CASE $1::text WHEN 'TYPE' THEN "j"."type" = $2 WHEN 'TENANT' THEN "j"."tenant_id" = $2 ELSE true END
  FOR UPDATE SKIP LOCKED
), "counted" AS (
  UPDATE "evenkeel"."background_job" AS "j" SET "capped" = true FROM "running" WHERE "j"."id" = "running"."id"
), ${audit(`'queue.limit'`)}
SELECT ${columns} FROM "decided"`;

const listStatement = `
SELECT ${columns} FROM "evenkeel"."background_job_limit"
WHERE "paused" OR "max_running" IS NOT NULL OR "rate_limit" IS NOT NULL
ORDER BY "kind", "subject"`;

/** Decisions about the queue under an operator's name. */
export function createOperatorQueue(sql: SqlClient, actor: string): OperatorQueue {
  const one = async (statement: string, values: Parameters<SqlClient["query"]>[1]) => {
    const [row] = await sql.query<QueueLimit>(statement, values);
    if (row === undefined) throw new Error("A decision about the queue came back without a row.");
    return row;
  };
  const pause = (subject: PauseSubject, paused: boolean, reason?: string): Promise<QueueLimit> =>
    one(pauseStatement, [...nameOf(subject), actor, reason ?? null, paused]);
  return {
    pause: (subject, { reason } = {}) => pause(subject, true, reason),
    resume: (subject, { reason } = {}) => pause(subject, false, reason),
    limit: async (subject, change, { reason } = {}) => {
      checkChange(subject, change);
      const { maxRunning, rate } = change;
      return one(limitStatement, [
        ...nameOf(subject),
        actor,
        reason ?? null,
        maxRunning !== undefined,
        maxRunning ?? null,
        rate !== undefined,
        rate?.jobs ?? null,
        rate?.periodMs ?? null,
      ]);
    },
    limits: () => sql.query<QueueLimit>(listStatement),
  };
}

function nameOf(subject: PauseSubject | LimitSubject): [kind: string, subject: string] {
  if (subject === "queue") return ["QUEUE", ""];
  if (subject === "every-tenant") return ["EVERY_TENANT", ""];
  return "type" in subject ? ["TYPE", subject.type] : ["TENANT", parseTenantId(subject.tenantId)];
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
