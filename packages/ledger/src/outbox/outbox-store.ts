import { toSqlClient, type SqlClient, type TransactionClient } from "../database/database.ts";
import { redactError } from "../database/redaction.ts";
import { prepareEvent, type NewOutboxEvent } from "./outbox-event.ts";

export type { NewOutboxEvent } from "./outbox-event.ts";

/** What became of an added event. */
export interface AddedOutboxEvent {
  /** The id that it is sent with, each time that it is sent. */
  readonly id: string;
  /** `false`: an event of this id was added before, and nothing was written. */
  readonly created: boolean;
}

/** An event that is to be sent. */
export interface OutboxEvent {
  /** Its place in the outbox, as decimal text. */
  readonly place: string;
  readonly id: string;
  readonly name: string;
  readonly data: NewOutboxEvent["data"];
  readonly tenantId: string | null;
  readonly occurredAt: Date;
}

/** The right to relay. */
export interface OutboxLease {
  /** Failed sends in a row, by whichever host: after one, a relay begins with little. */
  readonly failureCount: number;
}

/** What came of a send. Places are those of {@link OutboxEvent}. */
export interface OutboxSettlement {
  readonly fence: string;
  readonly sent: readonly string[];
  /** Events that the server will never take: they are marked, and each gets a dead letter. */
  readonly refused?: readonly { readonly place: string; readonly error: string }[];
  /** The send failed: no host tries again for so many milliseconds. Gives the lease back. */
  readonly failure?: { readonly error: string; readonly delayMs: number };
  /** Gives the lease back. */
  readonly release?: boolean;
}

/** How far the relay is behind. */
export interface OutboxBacklog {
  readonly pending: number;
  /** Age of the oldest pending event in milliseconds, 0 without one. */
  readonly oldestMs: number;
  readonly refused: number;
}

/** The outbox: events that are sent if and when the transaction that asked for them commits. */
export interface OutboxStore {
  /**
   * Adds events inside the caller's transaction, in the order given.
   *
   * @param tx The transaction's client: Prisma's `tx`, a `pg` client; or a pool, which commits at once.
   * @throws InputError `invalid_payload`, `invalid_tenant` or `payload_too_large`, before anything is written.
   */
  add(
    tx: TransactionClient,
    events: NewOutboxEvent | readonly NewOutboxEvent[],
  ): Promise<AddedOutboxEvent[]>;
  /**
   * Asks for the right to relay, for a relay: one host has it at a time. `undefined`: nothing is pending,
   * another host relays, or Inngest was away a moment ago.
   */
  lease(request: {
    readonly fence: string;
    readonly owner: string;
    readonly leaseMs: number;
  }): Promise<OutboxLease | undefined>;
  /** Renews the lease and answers the next pending events in order; none when the lease is lost. */
  read(request: {
    readonly fence: string;
    readonly leaseMs: number;
    readonly limit: number;
  }): Promise<OutboxEvent[]>;
  /** Records what came of a send, in one statement. */
  settle(settlement: OutboxSettlement): Promise<void>;
  backlog(): Promise<OutboxBacklog>;
}

const addStatement = `
INSERT INTO "evenkeel"."background_outbox_event" ("event_id", "tenant_id", "name", "data", "occurred_at")
SELECT "item"."id", "item"."tenant_id", "item"."name", "item"."data",
  coalesce("item"."occurred_at", clock_timestamp())
FROM ROWS FROM (jsonb_to_recordset($1::jsonb) AS (
  "id" text, "tenant_id" text, "name" text, "data" jsonb, "occurred_at" timestamptz
)) WITH ORDINALITY AS "item" ("id", "tenant_id", "name", "data", "occurred_at", "place")
ORDER BY "item"."place"
ON CONFLICT ("event_id") DO NOTHING
RETURNING "event_id" AS "id"`;

// An idle outbox is only looked at: the lease's row is written when there is something to send.
const leaseStatement = `
INSERT INTO "evenkeel"."background_outbox_relay" AS "r" ("name", "fence", "owner", "lease_expires_at")
SELECT 'outbox', $1::uuid, $2, clock_timestamp() + $3::double precision * interval '1 millisecond'
WHERE EXISTS (SELECT FROM "evenkeel"."background_outbox_event" WHERE "status" = 'PENDING')
ON CONFLICT ("name") DO UPDATE SET
  "fence" = excluded."fence", "owner" = excluded."owner", "lease_expires_at" = excluded."lease_expires_at"
WHERE "r"."lease_expires_at" <= clock_timestamp() AND "r"."not_before" <= clock_timestamp()
RETURNING "failure_count" AS "failureCount"`;

const readStatement = `
WITH "held" AS (
  UPDATE "evenkeel"."background_outbox_relay"
  SET "lease_expires_at" = clock_timestamp() + $2::double precision * interval '1 millisecond'
  WHERE "name" = 'outbox' AND "fence" = $1::uuid
  RETURNING "name"
)
SELECT "e"."id"::text AS "place", "e"."event_id" AS "id", "e"."name", "e"."data",
  "e"."tenant_id" AS "tenantId", "e"."occurred_at" AS "occurredAt"
FROM "held", LATERAL (
  SELECT * FROM "evenkeel"."background_outbox_event"
  WHERE "status" = 'PENDING' ORDER BY "id" LIMIT $3::int
) AS "e"
ORDER BY "e"."id"`;

// That an event was sent is true whoever holds the lease by now. Everything else needs the fence.
const settleStatement = `
WITH "sent" AS (
  UPDATE "evenkeel"."background_outbox_event" AS "e"
  SET "status" = 'SENT', "settled_at" = clock_timestamp()
  FROM jsonb_array_elements_text($2::jsonb) AS "item"
  WHERE "e"."id" = "item"::bigint AND "e"."status" = 'PENDING'
), "refused" AS (
  UPDATE "evenkeel"."background_outbox_event" AS "e"
  SET "status" = 'REFUSED', "settled_at" = clock_timestamp(), "last_error" = "item"."error"
  FROM jsonb_to_recordset($3::jsonb) AS "item" ("place" bigint, "error" text)
  WHERE "e"."id" = "item"."place" AND "e"."status" = 'PENDING'
  RETURNING "e".*
), "letters" AS (
  INSERT INTO "evenkeel"."background_dead_letter"
    ("kind", "source_id", "tenant_id", "name", "reason", "error", "payload", "previous_id")
  SELECT 'EVENT', "event_id", "tenant_id", "name", 'terminal', "last_error", "data", (
    SELECT "d"."id" FROM "evenkeel"."background_dead_letter" AS "d"
    WHERE "d"."kind" = 'EVENT' AND "d"."source_id" = "event_id" ORDER BY "d"."created_at" DESC LIMIT 1
  ) FROM "refused"
  ON CONFLICT DO NOTHING
)
UPDATE "evenkeel"."background_outbox_relay" SET
  "failure_count" = CASE
    WHEN $4::text IS NOT NULL THEN "failure_count" + 1
    WHEN $2::jsonb = '[]' THEN "failure_count"
    ELSE 0
  END,
  "last_error" = coalesce($4::text, "last_error"),
  "not_before" = clock_timestamp() + $5::double precision * interval '1 millisecond',
  "lease_expires_at" = CASE WHEN $6::boolean THEN clock_timestamp() ELSE "lease_expires_at" END
WHERE "name" = 'outbox' AND "fence" = $1::uuid`;

const backlogStatement = `
SELECT count(*) FILTER (WHERE "status" = 'PENDING')::int AS "pending",
  coalesce(extract(epoch FROM clock_timestamp()
    - min("occurred_at") FILTER (WHERE "status" = 'PENDING')) * 1000, 0)::float8 AS "oldestMs",
  count(*) FILTER (WHERE "status" = 'REFUSED')::int AS "refused"
FROM "evenkeel"."background_outbox_event" WHERE "status" IN ('PENDING', 'REFUSED')`;

/** The outbox on a connection pool. */
export function createOutboxStore(sql: SqlClient): OutboxStore {
  return {
    add: async (tx, events) => {
      const rows = (Array.isArray(events) ? events : [events]).map(prepareEvent);
      if (rows.length === 0) return [];
      const written = await toSqlClient(tx).query<{ id: string }>(addStatement, [
        `[${rows.map(({ json }) => json).join(",")}]`,
      ]);
      const created = new Set(written.map(({ id }) => id));
      // Of two in this call with one id, the first is the one that was written.
      return rows.map(({ id }) => ({ id, created: created.delete(id) }));
    },
    lease: async ({ fence, owner, leaseMs }) => {
      const [row] = await sql.query<OutboxLease>(leaseStatement, [fence, owner, leaseMs]);
      return row;
    },
    read: ({ fence, leaseMs, limit }) =>
      sql.query<OutboxEvent>(readStatement, [fence, leaseMs, limit]),
    settle: async ({ fence, sent, refused = [], failure, release = false }) => {
      await sql.query(settleStatement, [
        fence,
        JSON.stringify(sent),
        JSON.stringify(refused.map(({ place, error }) => ({ place, error: redactError(error) }))),
        failure === undefined ? null : redactError(failure.error),
        failure?.delayMs ?? 0,
        release || failure !== undefined,
      ]);
    },
    backlog: async () => {
      const [row] = await sql.query<OutboxBacklog>(backlogStatement);
      return row ?? { pending: 0, oldestMs: 0, refused: 0 };
    },
  };
}
