import { pageLimit, type Page } from "../database/page.ts";
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

const listStatement = `
SELECT "a"."id"::text, "a"."at", "a"."actor", "a"."action", "a"."subject_kind" AS "subjectKind",
  "a"."subject_id" AS "subjectId", "a"."tenant_id" AS "tenantId", "a"."before", "a"."after", "a"."reason"
FROM "evenkeel"."background_audit_entry" AS "a"
WHERE :tenant("a"."tenant_id")
  AND ($1::text IS NULL OR "a"."actor" = $1)
  AND ($2::text IS NULL OR "a"."action" = $2)
  AND ($3::text IS NULL OR "a"."subject_id" = $3)
  AND ($4::text IS NULL OR ("a"."at", "a"."id") < (
    SELECT "b"."at", "b"."id" FROM "evenkeel"."background_audit_entry" AS "b" WHERE "b"."id"::text = $4))
ORDER BY "a"."at" DESC, "a"."id" DESC LIMIT $5::int`;

/** What operators did, the newest first. */
export function listAudit(
  scope: Scope,
  { actor, action, subjectId, before, limit }: AuditFilter & Page = {},
): Promise<AuditEntry[]> {
  return scope.query<AuditEntry>(listStatement, [
    actor ?? null,
    action ?? null,
    subjectId ?? null,
    before ?? null,
    pageLimit(limit),
  ]);
}
