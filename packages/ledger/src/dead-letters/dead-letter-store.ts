import { randomUUID } from "node:crypto";

import type { SqlClient } from "../database/database.ts";
import { redactError } from "../database/redaction.ts";
import { defineStatement } from "../database/statement.ts";
import { encodeStorable, toStorableText } from "../database/storable-json.ts";
import type { NewDeadLetter } from "./dead-letter.ts";

/** The dead letters: work that waits for an operator. */
export interface DeadLetterStore {
  /** Files a letter. `created: false`: this failure is already on file, under the returned id. */
  file(letter: NewDeadLetter): Promise<{ readonly id: string; readonly created: boolean }>;
}

const fileStatement = defineStatement<
  | "id"
  | "kind"
  | "sourceId"
  | "tenantId"
  | "name"
  | "reason"
  | "error"
  | "payload"
  | "history"
  | "previousId"
>(`
WITH known AS (
  SELECT id FROM evenkeel.background_dead_letter
  WHERE kind = :kind::evenkeel.dead_letter_kind AND source_id = :sourceId
  ORDER BY created_at DESC LIMIT 1
), filed AS (
  INSERT INTO evenkeel.background_dead_letter (
    id, kind, source_id, tenant_id, name, reason, error, payload, history, previous_id
  )
  SELECT :id::uuid, :kind::evenkeel.dead_letter_kind, :sourceId, :tenantId, :name, :reason, :error,
    :payload::jsonb, :history::jsonb, (
      SELECT id FROM evenkeel.background_dead_letter WHERE id = :previousId::uuid
    )
  WHERE NOT EXISTS (SELECT FROM known)
  -- The update changes nothing; it makes the statement return the letter that is already there.
  ON CONFLICT (kind, source_id, source_created_at) WHERE status = 'OPEN' DO UPDATE SET source_id = excluded.source_id
  RETURNING id
)
SELECT id::text FROM filed UNION ALL SELECT id::text FROM known`);

/** Creates the dead letter store on a connection pool. */
export function createDeadLetterStore(sql: SqlClient): DeadLetterStore {
  return {
    file: async (letter) => {
      const id = randomUUID();
      const [row] = await sql.query<{ id: string }>(
        fileStatement.text,
        fileStatement.values({
          id,
          kind: letter.kind,
          sourceId: toStorableText(letter.sourceId),
          tenantId: letter.tenantId ?? null,
          name: toStorableText(letter.name),
          reason: letter.reason,
          error: redactError(letter.error),
          payload: encodeStorable(letter.payload),
          history: encodeStorable(letter.history) ?? "[]",
          previousId: letter.previousId ?? null,
        }),
      );
      return { id: row?.id ?? id, created: row?.id === id };
    },
  };
}
