import { pageLimit, type Page } from "../database/page.ts";
import { defineStatement } from "../database/statement.ts";
import type { Scope } from "../database/tenant-scope.ts";

/** One thing that an operator did. */
export interface AuditEntry {
  readonly id: string;
  readonly at: Date;
  readonly actor: string;
  /** `dead_letter.requeue`, `dead_letter.discard`, `effect.resolve`, `job.cancel`, `job.reschedule`, `schedule.pause`,
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

const listStatement = defineStatement<"actor" | "action" | "subjectId" | "before" | "limit">(`
SELECT entry.id::text, entry.at, entry.actor, entry.action, entry.subject_kind AS "subjectKind",
  entry.subject_id AS "subjectId", entry.tenant_id AS "tenantId", entry.before, entry.after, entry.reason
FROM evenkeel.background_audit_entry AS entry
WHERE :tenant(entry.tenant_id)
  AND (:actor::text IS NULL OR entry.actor = :actor)
  AND (:action::text IS NULL OR entry.action = :action)
  AND (:subjectId::text IS NULL OR entry.subject_id = :subjectId)
  AND (:before::text IS NULL OR (entry.at, entry.id) < (
    SELECT last_seen.at, last_seen.id FROM evenkeel.background_audit_entry AS last_seen
    WHERE last_seen.id::text = :before))
ORDER BY entry.at DESC, entry.id DESC LIMIT :limit::int`);

/** Returns what operators did, the newest first. */
export function listAudit(
  scope: Scope,
  { actor, action, subjectId, before, limit }: AuditFilter & Page = {},
): Promise<AuditEntry[]> {
  return scope.query<AuditEntry>(
    listStatement.text,
    listStatement.values({
      actor: actor ?? null,
      action: action ?? null,
      subjectId: subjectId ?? null,
      before: before ?? null,
      limit: pageLimit(limit),
    }),
  );
}
