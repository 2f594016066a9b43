import { randomUUID } from "node:crypto";

import type { SqlClient } from "../database/database.ts";
import { redactError } from "../database/redaction.ts";

/** What kind of work a letter holds. */
export type DeadLetterKind = "JOB" | "RUN" | "DISPATCH" | "EVENT";

/** Why work will not be tried again by itself. */
export type DeadLetterReason =
  | "terminal"
  | "exhausted"
  | "timeout"
  | "schema"
  | "unknown-type"
  | "poison"
  | "in_doubt"
  | "cancelled"
  | "stale";

/** A letter to be filed. */
export interface NewDeadLetter {
  readonly kind: DeadLetterKind;
  /** The job's id, the run's id, the dispatch key or the outbox event's id: one letter each. */
  readonly sourceId: string;
  /** The job's type or the function's id. */
  readonly name: string;
  readonly reason: DeadLetterReason;
  readonly error: string;
  readonly payload?: unknown;
  /** What happened before: attempts with their errors. */
  readonly history?: readonly unknown[];
  readonly tenantId?: string;
  /** The letter of the same work that was redriven before it died again. */
  readonly previousId?: string;
}

/** The dead letters: work that waits for an operator. */
export interface DeadLetterStore {
  /** Files a letter. `created: false`: this failure is already on file, under the id answered. */
  file(letter: NewDeadLetter): Promise<{ readonly id: string; readonly created: boolean }>;
}

/** The dead letter store on a connection pool. */
export function createDeadLetterStore(sql: SqlClient): DeadLetterStore {
  return {
    file: async (letter) => {
      const id = randomUUID();
      const [row] = await sql.query<{ id: string }>(
        `WITH "known" AS (
           SELECT "id" FROM "evenkeel"."background_dead_letter"
           WHERE "kind" = $2::"evenkeel"."dead_letter_kind" AND "source_id" = $3
           ORDER BY "created_at" DESC LIMIT 1
         ), "filed" AS (
           INSERT INTO "evenkeel"."background_dead_letter" (
             "id", "kind", "source_id", "tenant_id", "name", "reason", "error", "payload", "history",
             "previous_id")
           SELECT $1::uuid, $2::"evenkeel"."dead_letter_kind", $3, $4, $5, $6, $7, $8::jsonb, $9::jsonb, (
             SELECT "id" FROM "evenkeel"."background_dead_letter" WHERE "id" = $10::uuid)
           WHERE NOT EXISTS (SELECT FROM "known")
           -- The update changes nothing; it makes the statement answer the letter that is already there.
           ON CONFLICT ("kind", "source_id") WHERE "status" = 'OPEN'
             DO UPDATE SET "source_id" = excluded."source_id"
           RETURNING "id"
         )
         SELECT "id"::text FROM "filed" UNION ALL SELECT "id"::text FROM "known"`,
        [
          id,
          letter.kind,
          letter.sourceId,
          letter.tenantId ?? null,
          letter.name,
          letter.reason,
          redactError(letter.error),
          letter.payload === undefined ? null : JSON.stringify(letter.payload),
          JSON.stringify(letter.history ?? []),
          letter.previousId ?? null,
        ],
      );
      return { id: row?.id ?? id, created: row?.id === id };
    },
  };
}
