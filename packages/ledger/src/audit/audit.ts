import { newestFirst } from "../database/newest-first.ts";
import { isUuid, pageLimit, type Page } from "../database/page.ts";
import { defineStatement, type Statement } from "../database/statement.ts";
import type { Scope } from "../database/tenant-scope.ts";

/** One thing that an operator did. */
export interface AuditEntry {
  readonly id: string;
  readonly at: Date;
  readonly actor: string;
  /** `dead_letter.requeue`, `dead_letter.discard`, `effect.resolve`, `environment.change`, `job.cancel`, `job.reschedule`, `schedule.pause`,
   * `schedule.resume`, `queue.pause`, `queue.resume`, `queue.limit`. */
  readonly action: string;
  readonly subjectKind: string;
  readonly subjectId: string;
  readonly tenantId: string | null;
  readonly before: unknown;
  readonly after: unknown;
  readonly reason: string | null;
}

/** Which entries to read. */
export interface AuditFilter {
  readonly actor?: string;
  readonly action?: string;
  readonly subjectId?: string;
}

type Parameter = "actor" | "action" | "subjectId" | "before" | "limit";

/**
 * The statement of a page: from an index by subject, by actor or by action, the first of these that is given. The other
 * conditions are looked at row by row.
 */
function auditStatement(filter: AuditFilter & Page): Statement<Parameter> {
  const columns = { subjectId: "subject_id", actor: "actor", action: "action" } as const;
  const given = (["subjectId", "actor", "action"] as const).filter(
    (field) => filter[field] !== undefined,
  );
  const [lead] = given;
  const isBehind = filter.before !== undefined;
  const page = newestFirst({
    relation: "background_audit_entry",
    alias: "entry",
    key: lead === undefined ? [] : [[columns[lead], `:${lead}::text`]],
    time: "at",
    id: "id",
    where: [
      ":tenant(entry.tenant_id)",
      ...given.slice(1).map((field) => `entry.${columns[field]} = :${field}::text`),
    ],
    isBehind,
  });
  return defineStatement<Parameter>(`
${
  isBehind
    ? `WITH last_seen AS MATERIALIZED (
  SELECT at, id FROM evenkeel.background_audit_entry WHERE id = :before::uuid
)`
    : ""
}
SELECT entry.id::text, entry.at, entry.actor, entry.action, entry.subject_kind AS "subjectKind",
  entry.subject_id AS "subjectId", entry.tenant_id AS "tenantId", entry.before, entry.after, entry.reason
FROM ${page} AS entry
ORDER BY entry.at DESC, entry.id DESC`);
}

/** Returns what operators did, the newest first. */
export async function listAudit(
  scope: Scope,
  filter: AuditFilter & Page = {},
): Promise<AuditEntry[]> {
  const { actor, action, subjectId, before, limit } = filter;
  if (before !== undefined && !isUuid(before)) return [];
  const statement = auditStatement(filter);
  return scope.query<AuditEntry>(
    statement.text,
    statement.values({
      actor: actor ?? null,
      action: action ?? null,
      subjectId: subjectId ?? null,
      before: before ?? null,
      limit: pageLimit(limit),
    }),
  );
}
