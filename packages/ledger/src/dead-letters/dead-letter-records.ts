import { listRows, rowsOfIds } from "../database/list-rows.ts";
import { newestFirst } from "../database/newest-first.ts";
import { isUuid, pageLimit, type Page } from "../database/page.ts";
import { defineStatement, type Statement } from "../database/statement.ts";
import type { Scope } from "../database/tenant-scope.ts";
import {
  deadLetterTransitions,
  type DeadLetterKind,
  type DeadLetterReason,
  type DeadLetterStatus,
} from "./dead-letter.ts";

/** A dead letter as recorded. */
export interface DeadLetterRecord {
  readonly id: string;
  readonly kind: DeadLetterKind;
  /** The job's id, the run's id, the dispatch key or the outbox event's id. */
  readonly sourceId: string;
  /** When the job was created, as its id alone may name two; the epoch for anything else. */
  readonly sourceCreatedAt: Date;
  readonly tenantId: string | null;
  readonly name: string;
  readonly reason: DeadLetterReason;
  readonly error: string;
  readonly payload: unknown;
  /** For a job, the version of its payload, as long as the job is on record. */
  readonly version: number | null;
  readonly history: readonly unknown[];
  readonly status: DeadLetterStatus;
  /** The letter of the same work that was redriven before it died again. */
  readonly previousId: string | null;
  readonly createdAt: Date;
  readonly resolvedAt: Date | null;
  readonly resolvedBy: string | null;
}

/** Which letters to read or to decide about: those that match everything given. */
export interface DeadLetterFilter {
  readonly ids?: readonly string[];
  readonly kind?: DeadLetterKind;
  readonly reason?: DeadLetterReason;
  /** The job's type or the function's id. */
  readonly name?: string;
  readonly status?: DeadLetterStatus;
  readonly tenantId?: string;
  readonly createdAfter?: Date;
  readonly createdBefore?: Date;
}

/** Dead letters, as far as a scope reaches. */
export interface ScopedDeadLetters {
  find(id: string): Promise<DeadLetterRecord | undefined>;
  /** The newest first. */
  list(filter?: DeadLetterFilter & Page): Promise<DeadLetterRecord[]>;
}

const letterColumns = `letter.id::text, letter.kind::text, letter.source_id AS "sourceId",
  letter.source_created_at AS "sourceCreatedAt", letter.tenant_id AS "tenantId", letter.name, letter.reason, letter.error, letter.payload, letter.history,
  (SELECT history.version FROM evenkeel.background_job_history AS history
    WHERE history.id = CASE WHEN letter.kind = 'JOB' THEN letter.source_id::bigint END
      AND history.created_at = letter.source_created_at) AS version,
  letter.status::text, letter.previous_id::text AS "previousId", letter.created_at AS "createdAt",
  letter.resolved_at AS "resolvedAt", letter.resolved_by AS "resolvedBy"`;

/** What a letter has to fulfil: `$1` is the filter, as {@link encodeFilter} writes it. */
export const letterCondition = `:tenant(letter.tenant_id)
  AND ($1::jsonb->'ids' IS NULL OR letter.id IN (
    SELECT asked::uuid FROM jsonb_array_elements_text($1::jsonb->'ids') AS asked))
  AND ($1::jsonb->>'kind' IS NULL OR letter.kind::text = $1::jsonb->>'kind')
  AND ($1::jsonb->>'reason' IS NULL OR letter.reason = $1::jsonb->>'reason')
  AND ($1::jsonb->>'name' IS NULL OR letter.name = $1::jsonb->>'name')
  AND ($1::jsonb->>'status' IS NULL OR letter.status::text = $1::jsonb->>'status')
  AND ($1::jsonb->>'tenantId' IS NULL OR letter.tenant_id = $1::jsonb->>'tenantId')
  AND ($1::jsonb->>'createdAfter' IS NULL OR letter.created_at > ($1::jsonb->>'createdAfter')::timestamptz)
  AND ($1::jsonb->>'createdBefore' IS NULL OR letter.created_at < ($1::jsonb->>'createdBefore')::timestamptz)`;

const findStatement = `
SELECT ${letterColumns} FROM evenkeel.background_dead_letter AS letter
WHERE ${letterCondition}
ORDER BY letter.created_at DESC, letter.id DESC LIMIT $2::int`;

/** The letters whose keys a tenant's list found, in its order. */
const readStatement = `
SELECT ${letterColumns} FROM evenkeel.background_dead_letter AS letter
WHERE letter.id = ANY ($1::text::uuid[]) AND :tenant(letter.tenant_id)
ORDER BY letter.created_at DESC, letter.id DESC`;

type Parameter =
  | "statuses"
  | "tenantId"
  | "name"
  | "reason"
  | "kind"
  | "createdAfter"
  | "createdBefore"
  | "before"
  | "limit";

/**
 * The statement of a page: each status from an index by tenant, by name or by reason, the first of these that is given.
 * The other conditions are looked at row by row. Condition by condition, as an index serves none that may be absent.
 * In a tenant's scope it finds the keys of the page.
 */
function letterListStatement(
  filter: DeadLetterFilter & Page,
  hasOneTenant: boolean,
): Statement<Parameter> {
  const isGiven = (field: keyof DeadLetterFilter): boolean => filter[field] !== undefined;
  const lead =
    isGiven("tenantId") || hasOneTenant
      ? "tenant_id"
      : isGiven("name")
        ? "name"
        : isGiven("reason")
          ? "reason"
          : undefined;
  const value = { tenant_id: "asked.tenant_id", name: ":name::text", reason: ":reason::text" };
  const isBehind = filter.before !== undefined;
  const page = newestFirst({
    relation: "background_dead_letter",
    alias: "letter",
    key: [
      ...(lead === undefined ? [] : [[lead, value[lead]] as const]),
      ["status", "asked.status"],
    ],
    time: "created_at",
    id: "id",
    where: [
      ":tenant(letter.tenant_id)",
      ...(isGiven("name") && lead !== "name" ? ["letter.name = :name::text"] : []),
      ...(isGiven("reason") && lead !== "reason" ? ["letter.reason = :reason::text"] : []),
      ...(isGiven("kind") ? ["letter.kind = :kind::text::evenkeel.dead_letter_kind"] : []),
      ...(isGiven("createdAfter") ? ["letter.created_at > :createdAfter::timestamptz"] : []),
      ...(isGiven("createdBefore") ? ["letter.created_at < :createdBefore::timestamptz"] : []),
    ],
    isBehind,
  });
  return defineStatement<Parameter>(`
WITH ${
    isBehind
      ? `last_seen AS MATERIALIZED (
  SELECT letter.created_at AS at, letter.id FROM evenkeel.background_dead_letter AS letter
  WHERE letter.id = :before::uuid AND :tenant(letter.tenant_id)
), `
      : ""
  }asked AS (
  SELECT unnest(:statuses::text::evenkeel.dead_letter_status[]) AS status, :tenantId::text AS tenant_id
)
SELECT ${hasOneTenant ? "letter.id::text" : letterColumns} FROM asked CROSS JOIN LATERAL ${page} AS letter
ORDER BY letter.created_at DESC, letter.id DESC LIMIT :limit::int`);
}

/** The filter as a statement's parameter. Text that is no letter's id matches nothing. */
export function encodeFilter({ ids, ...rest }: DeadLetterFilter): string {
  return JSON.stringify({ ...rest, ids: ids?.filter(isUuid) });
}

/** Creates the dead letters of a scope. */
export function createScopedDeadLetters(scope: Scope): ScopedDeadLetters {
  const list: ScopedDeadLetters["list"] = async (filter = {}) => {
    const { before, limit, ...rest } = filter;
    if (before !== undefined && !isUuid(before)) return [];
    if (rest.ids !== undefined) {
      return scope.query<DeadLetterRecord>(findStatement, [encodeFilter(rest), pageLimit(limit)]);
    }
    const { tenantId = scope.tenantId, status } = rest;
    if (status !== undefined && !(status in deadLetterTransitions)) return [];
    const statement = letterListStatement(filter, scope.tenantId !== undefined);
    const values = statement.values({
      statuses: status === undefined ? "{OPEN,REQUEUED,DISCARDED}" : `{${status}}`,
      tenantId: tenantId ?? null,
      name: rest.name ?? null,
      reason: rest.reason ?? null,
      kind: rest.kind ?? null,
      createdAfter: rest.createdAfter?.toISOString() ?? null,
      createdBefore: rest.createdBefore?.toISOString() ?? null,
      before: before ?? null,
      limit: pageLimit(limit),
    });
    return listRows(scope, { text: statement.text, values }, rowsOfIds(readStatement));
  };
  return { list, find: async (id) => (await list({ ids: [id] }))[0] };
}
