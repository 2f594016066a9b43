import { bucketOf } from "@evenkeel/core";

import type { SqlValue } from "../../database/database.ts";
import { LedgerError } from "../../database/ledger-error.ts";
import { listRows, type Query } from "../../database/list-rows.ts";
import { pageLimit, type Page } from "../../database/page.ts";
import { defineStatement } from "../../database/statement.ts";
import type { Scope } from "../../database/tenant-scope.ts";
import type { JobStatus } from "../job.ts";
import { priorityStepMs } from "../turn.ts";
import { historyColumns, queueColumns, type JobRecord } from "./job-record.ts";

/*
 * A list is read from an index, page by page, however many jobs there are. Each status has the order that its index has:
 * what waits is listed in the order in which it will be claimed, what ended from the newest end. Lists of several
 * statuses go through them one by one: what runs, what may be claimed, what is scheduled, what ended.
 *
 * Two lists are not offered, as their indexes would cost every job: what may be claimed by type, at its enqueueing, and
 * what succeeded by type over all tenants, a third of its settlement.
 */

/** Where a page ended: the last job of it. */
export type JobPosition = Pick<
  JobRecord,
  "id" | "status" | "tenantId" | "priority" | "runAt" | "finishedAt"
>;

/** Which jobs to list: those that match everything given. */
export interface JobFilter extends Pick<Page, "limit"> {
  /** Defaults to every status; to those of jobs that ended where times of their ends are given. */
  readonly status?: JobStatus | readonly JobStatus[];
  /**
   * Defaults to every type. Not together with `PENDING`, nor over every tenant with `SUCCEEDED`: no index serves these.
   */
  readonly type?: string;
  /** Defaults to every tenant of the scope. */
  readonly tenantId?: string;
  /** Ended at that time or later. */
  readonly finishedFrom?: Date;
  /** Ended before that time. */
  readonly finishedBefore?: Date;
  /** The last job of the page before, as it was listed. Absent: from the first. */
  readonly after?: JobPosition;
}

type Section = "RUNNING" | "PENDING" | "SCHEDULED" | "ENDED";

const sections: readonly Section[] = ["RUNNING", "PENDING", "SCHEDULED", "ENDED"];
const ended = ["SUCCEEDED", "DEAD", "CANCELLED"] as const satisfies readonly JobStatus[];
const everyStatus: readonly JobStatus[] = ["RUNNING", "PENDING", "SCHEDULED", ...ended];

type Parameter =
  | "tenantId"
  | "bucket"
  | "type"
  | "outcomes"
  | "from"
  | "before"
  | "limit"
  | "id"
  | "at"
  | "lastBucket"
  | "lastTenant";

/** What decides on a statement's text: which conditions it has, as an index serves no condition that may be absent. */
interface Shape {
  readonly hasTenant: boolean;
  readonly hasType: boolean;
  readonly hasFrom: boolean;
  readonly hasBefore: boolean;
  /** Whether it goes on behind a job. */
  readonly isBehind: boolean;
  /** Whether it is for a tenant's scope. */
  readonly isScoped: boolean;
}

const when = (condition: boolean, sql: string): string => (condition ? ` AND ${sql}` : "");

const ofTenant = ({ hasTenant }: Shape): string =>
  `${when(hasTenant, "job.tenant_id = :tenantId")} AND :tenant(job.tenant_id)`;

// What hosts hold is no more than they have slots and stock for: it may be read as a whole.
const running = (shape: Shape): string => `
WITH held AS MATERIALIZED (
  SELECT job.id FROM evenkeel.background_job AS job
  WHERE job.state = 'RUNNING' AND job.lease_expires_at > '-infinity'${ofTenant(shape)}
    ${when(shape.hasType, "job.type = :type")}${when(shape.isBehind, "job.id < :id::bigint")}
)
SELECT ${queueColumns} FROM evenkeel.background_job AS job
WHERE job.id = ANY (ARRAY(SELECT id FROM held ORDER BY id DESC LIMIT :limit::int)) AND job.state = 'RUNNING'
ORDER BY job.id DESC`;

const pending = (shape: Shape): string => {
  const order = shape.hasTenant
    ? "job.turn_at, job.id"
    : "job.bucket, job.tenant_id, job.turn_at, job.id";
  const behind = shape.hasTenant
    ? "(:at::timestamptz, :id::bigint)"
    : "(:lastBucket::int, :lastTenant::text, :at::timestamptz, :id::bigint)";
  return `
SELECT ${queueColumns} FROM evenkeel.background_job AS job
WHERE job.state = 'PENDING'${when(shape.hasTenant, "job.bucket = :bucket::int")}${ofTenant(shape)}
  ${when(shape.isBehind, `(${order}) > ${behind}`)}
ORDER BY ${order} LIMIT :limit::int`;
};

/*
 * Where a key is compared as a row, and ordered by as a whole, only the index of that key serves the order. With equality
 * the planner may take the index of another order, and read past all that does not match.
 */

/** The types that there are, one look at an index for each; or the one that is asked for. */
const typesCte = (shape: Shape, relation: string, condition: string): string => {
  if (shape.hasType) return `types AS (SELECT :type::text AS type)`;
  const key = shape.hasTenant ? "(job.tenant_id, job.type)" : "job.type";
  const next = (type: string): string => `(
    SELECT job.type FROM evenkeel.${relation} AS job
    WHERE ${condition} AND ${key} > ${shape.hasTenant ? `(:tenantId::text, ${type})` : type}
      ${when(shape.hasTenant, "job.tenant_id <= :tenantId::text")} AND :tenant(job.tenant_id)
    ORDER BY ${shape.hasTenant ? "job.tenant_id, job.type" : "job.type"} LIMIT 1
  )`;
  return `types AS (
  SELECT ${next("''")} AS type
  UNION ALL SELECT ${next("types.type")} FROM types WHERE types.type IS NOT NULL
)`;
};

const scheduled = (shape: Shape): string => `
WITH RECURSIVE ${typesCte(shape, "background_job", "job.state = 'SCHEDULED'")}
SELECT ${queueColumns}
FROM types CROSS JOIN LATERAL (
  SELECT job.* FROM evenkeel.background_job AS job
  WHERE job.state = 'SCHEDULED'${ofTenant(shape)} AND job.type = types.type COLLATE "C"
    ${when(shape.isBehind, "(job.run_at, job.id) > (:at::timestamptz, :id::bigint)")}
  ORDER BY job.run_at, job.id LIMIT :limit::int
) AS job
ORDER BY job.run_at, job.id LIMIT :limit::int`;

const endedJobs = (shape: Shape): string => {
  const { hasTenant, hasType, hasFrom, hasBefore, isBehind } = shape;
  const byType = hasTenant || hasType;
  const columns = [...(hasTenant ? ["tenant_id"] : []), ...(byType ? ["type"] : []), "outcome"];
  const key = columns.map((column) => `job.${column}`).join(", ");
  const asked = [
    ...(hasTenant ? [":tenantId::text"] : []),
    ...(byType ? ["types.type"] : []),
    "asked.outcome",
  ].join(", ");
  const upper = [
    ...(isBehind ? [":at::timestamptz"] : []),
    ...(hasBefore ? [":before::timestamptz"] : []),
    "'infinity'::timestamptz",
  ].join(", ");
  const order = [...columns, "finished_at", "id"].map((column) => `job.${column} DESC`).join(", ");
  return `
WITH RECURSIVE ${byType ? typesCte(shape, "background_job_history", "true") : "types AS (SELECT)"}
SELECT ${shape.isScoped ? `job.id::text, job.created_at AS "createdAt"` : historyColumns}
FROM types CROSS JOIN unnest(:outcomes::text::evenkeel.job_outcome[]) AS asked (outcome) CROSS JOIN LATERAL (
  SELECT job.* FROM evenkeel.background_job_history AS job
  WHERE (${key}, job.finished_at) >= (${asked}, ${hasFrom ? ":from::timestamptz" : "'-infinity'"})
    AND (${key}, job.finished_at) <= (${asked}, LEAST(${upper}))
    AND :tenant(job.tenant_id)${when(hasType && !hasTenant, "job.outcome <> 'SUCCEEDED'")}
    ${when(hasBefore, "job.finished_at < :before::timestamptz")}
    ${when(isBehind, "(job.finished_at, job.id) < (:at::timestamptz, :id::bigint)")}
  ORDER BY ${order} LIMIT :limit::int
) AS job
ORDER BY job.finished_at DESC, job.id DESC LIMIT :limit::int`;
};

/** The jobs whose keys a tenant's list of what ended found, in its order. */
const readEnded = `
SELECT ${historyColumns} FROM evenkeel.background_job_history AS job
WHERE job.id = ANY ($1::text::bigint[]) AND :tenant(job.tenant_id)
  AND (job.id, job.created_at) IN (SELECT * FROM unnest($1::text::bigint[], $2::text::timestamptz[]))
ORDER BY job.finished_at DESC, job.id DESC`;

const statementOf: Readonly<Record<Section, (shape: Shape) => string>> = {
  RUNNING: running,
  PENDING: pending,
  SCHEDULED: scheduled,
  ENDED: endedJobs,
};

/** The statement of one section of a list, and its values. */
export interface ListStatement {
  readonly text: string;
  readonly values: readonly SqlValue[];
  /** Whether it finds the keys of what ended, and not the jobs: in a tenant's scope. */
  readonly isOfKeys: boolean;
}

/**
 * Returns the statements of a list, one for each section, in their order. A page is filled from one after the other.
 *
 * @param tenantId The scope's tenant, if it has one.
 * @throws LedgerError `invalid_options` for what no index serves.
 */
export function listStatements(
  filter: JobFilter,
  tenantId: string | undefined,
): ((limit: number) => ListStatement)[] {
  const statuses = statusesOf(filter);
  const { type, finishedFrom, finishedBefore, after } = filter;
  const tenant = tenantId ?? filter.tenantId;
  if (type !== undefined && statuses.includes("PENDING")) {
    throw new LedgerError(
      "invalid_options",
      "Jobs that may be claimed (PENDING) are not listed by type: no index serves it. Name other statuses, or leave out the type.",
      { field: "type" },
    );
  }
  if (type !== undefined && tenant === undefined && statuses.includes("SUCCEEDED")) {
    throw new LedgerError(
      "invalid_options",
      "Jobs that succeeded are not listed by type over every tenant: no index serves it. Name a tenant or other statuses, or leave out the type.",
      { field: "type" },
    );
  }
  const reached = after === undefined ? 0 : sections.indexOf(sectionOf(after.status));
  const wanted = new Set(statuses.map(sectionOf));
  return sections.slice(reached).flatMap((section, place) => {
    if (!wanted.has(section)) return [];
    const last = place === 0 ? after : undefined;
    const shape = {
      hasTenant: tenant !== undefined,
      hasType: type !== undefined,
      hasFrom: finishedFrom !== undefined,
      hasBefore: finishedBefore !== undefined,
      isBehind: last !== undefined,
      isScoped: tenantId !== undefined,
    };
    const statement = defineStatement<Parameter>(statementOf[section](shape));
    const outcomes = statuses.filter((status) => sectionOf(status) === "ENDED");
    return (limit: number) => ({
      isOfKeys: shape.isScoped && section === "ENDED",
      text: statement.text,
      values: statement.values({
        tenantId: tenant ?? null,
        bucket: tenant === undefined ? null : bucketOf(tenant),
        type: type ?? null,
        outcomes: `{${outcomes.join(",")}}`,
        from: finishedFrom?.toISOString() ?? null,
        before: finishedBefore?.toISOString() ?? null,
        limit,
        id: last?.id ?? null,
        at: last === undefined ? null : timeOf(last, section),
        lastBucket: last === undefined ? null : bucketOf(last.tenantId),
        lastTenant: last?.tenantId ?? null,
      }),
    });
  });
}

function statusesOf({ status, finishedFrom, finishedBefore }: JobFilter): readonly JobStatus[] {
  const hasTime = finishedFrom !== undefined || finishedBefore !== undefined;
  const all = hasTime ? ended : everyStatus;
  if (status === undefined) return all;
  const asked: readonly string[] = typeof status === "string" ? [status] : status;
  return all.filter((known) => asked.includes(known));
}

function sectionOf(status: JobStatus): Section {
  return status === "RUNNING" || status === "PENDING" || status === "SCHEDULED" ? status : "ENDED";
}

/** The time that orders a section. */
function timeOf({ runAt, priority, finishedAt }: JobPosition, section: Section): string {
  if (section === "ENDED") return (finishedAt ?? runAt).toISOString();
  const turnMs = section === "PENDING" ? runAt.getTime() - priority * priorityStepMs : +runAt;
  return new Date(turnMs).toISOString();
}

/**
 * Returns a page of a list. Rows that move to another status meanwhile may come twice, or not at all.
 *
 * @throws LedgerError `invalid_options` for what no index serves.
 */
export async function listJobs(scope: Scope, filter: JobFilter = {}): Promise<JobRecord[]> {
  const { tenantId } = scope;
  if (tenantId !== undefined && (filter.tenantId ?? tenantId) !== tenantId) return [];
  const limit = pageLimit(filter.limit);
  const jobs: JobRecord[] = [];
  for (const statement of listStatements(filter, tenantId)) {
    if (jobs.length >= limit) break;
    const { text, values, isOfKeys } = statement(limit - jobs.length);
    const page = isOfKeys
      ? await listRows<JobRecord, Key>(scope, { text, values }, readEndedOf)
      : await scope.query<JobRecord>(text, values);
    jobs.push(...page);
  }
  return jobs;
}

type Key = Pick<JobRecord, "id" | "createdAt">;

function readEndedOf(keys: readonly Key[]): Query {
  const ids = `{${keys.map(({ id }) => id).join(",")}}`;
  const times = `{${keys.map(({ createdAt }) => createdAt.toISOString()).join(",")}}`;
  return { text: readEnded, values: [ids, times] };
}
