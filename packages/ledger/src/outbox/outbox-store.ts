import { toSqlClient, type SqlClient } from "../database/database.ts";
import { redactError } from "../database/redaction.ts";
import { defineStatement } from "../database/statement.ts";
import type { TransactionClient } from "../database/transaction-client.ts";
import {
  prepareEvent,
  type AddedOutboxEvent,
  type NewOutboxEvent,
  type OutboxBacklog,
  type OutboxEvent,
  type OutboxLease,
  type OutboxSettlement,
} from "./outbox-event.ts";

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
   * another host relays, or Inngest was unavailable a moment ago.
   */
  lease(request: {
    readonly fence: string;
    readonly owner: string;
    readonly leaseMs: number;
  }): Promise<OutboxLease | undefined>;
  /** Renews the lease and returns the next pending events in order; none when the lease is lost. */
  read(request: {
    readonly fence: string;
    readonly leaseMs: number;
    readonly limit: number;
  }): Promise<OutboxEvent[]>;
  /** Records what came of a send, in one statement. */
  settle(settlement: OutboxSettlement): Promise<void>;
  /** Returns how far the relay is behind. */
  backlog(): Promise<OutboxBacklog>;
}

const addStatement = `
INSERT INTO evenkeel.background_outbox_event (event_id, tenant_id, name, data, occurred_at)
SELECT item.id, item.tenant_id, item.name, item.data,
  coalesce(item.occurred_at, clock_timestamp())
FROM ROWS FROM (jsonb_to_recordset($1::jsonb) AS (
  id text, tenant_id text, name text, data jsonb, occurred_at timestamptz
)) WITH ORDINALITY AS item (id, tenant_id, name, data, occurred_at, place)
ORDER BY item.place
ON CONFLICT (event_id) DO NOTHING
RETURNING event_id AS id`;

// An idle outbox is only looked at: the lease's row is written when there is something to send.
const leaseStatement = `
INSERT INTO evenkeel.background_outbox_relay AS relay (name, fence, owner, lease_expires_at)
SELECT 'outbox', $1::uuid, $2, clock_timestamp() + $3::double precision * interval '1 millisecond'
WHERE EXISTS (SELECT FROM evenkeel.background_outbox_event WHERE status = 'PENDING')
ON CONFLICT (name) DO UPDATE SET
  fence = excluded.fence, owner = excluded.owner, lease_expires_at = excluded.lease_expires_at
WHERE relay.lease_expires_at <= clock_timestamp() AND relay.not_before <= clock_timestamp()
RETURNING failure_count AS "failureCount"`;

const readStatement = `
WITH held AS (
  UPDATE evenkeel.background_outbox_relay
  SET lease_expires_at = clock_timestamp() + $2::double precision * interval '1 millisecond'
  WHERE name = 'outbox' AND fence = $1::uuid
  RETURNING name
)
SELECT event.id::text AS place, event.event_id AS id, event.name, event.data,
  event.tenant_id AS "tenantId", event.occurred_at AS "occurredAt"
FROM held, LATERAL (
  SELECT * FROM evenkeel.background_outbox_event
  WHERE status = 'PENDING' ORDER BY id LIMIT $3::int
) AS event
ORDER BY event.id`;

// That an event was sent is true whoever holds the lease by now. Everything else needs the fence.
const settleStatement = defineStatement<
  "fence" | "sent" | "refused" | "error" | "delayMs" | "release"
>(`
WITH sent AS (
  UPDATE evenkeel.background_outbox_event AS event
  SET status = 'SENT', settled_at = clock_timestamp()
  FROM jsonb_array_elements_text(:sent::jsonb) AS item
  WHERE event.id = item::bigint AND event.status = 'PENDING'
), refused AS (
  UPDATE evenkeel.background_outbox_event AS event
  SET status = 'REFUSED', settled_at = clock_timestamp(), last_error = item.error
  FROM jsonb_to_recordset(:refused::jsonb) AS item (place bigint, error text)
  WHERE event.id = item.place AND event.status = 'PENDING'
  RETURNING event.*
), letters AS (
  INSERT INTO evenkeel.background_dead_letter
    (kind, source_id, tenant_id, name, reason, error, payload, previous_id)
  SELECT 'EVENT', event_id, tenant_id, name, 'terminal', last_error, data, (
    SELECT letter.id FROM evenkeel.background_dead_letter AS letter
    WHERE letter.kind = 'EVENT' AND letter.source_id = event_id ORDER BY letter.created_at DESC LIMIT 1
  ) FROM refused
  ON CONFLICT DO NOTHING
)
UPDATE evenkeel.background_outbox_relay SET
  failure_count = CASE
    WHEN :error::text IS NOT NULL THEN failure_count + 1
    WHEN :sent::jsonb = '[]' THEN failure_count
    ELSE 0
  END,
  last_error = coalesce(:error::text, last_error),
  not_before = clock_timestamp() + :delayMs::double precision * interval '1 millisecond',
  lease_expires_at = CASE WHEN :release::boolean THEN clock_timestamp() ELSE lease_expires_at END
WHERE name = 'outbox' AND fence = :fence::uuid`);

const backlogStatement = `
SELECT count(*) FILTER (WHERE status = 'PENDING')::int AS pending,
  coalesce(extract(epoch FROM clock_timestamp()
    - min(occurred_at) FILTER (WHERE status = 'PENDING')) * 1000, 0)::float8 AS "oldestMs",
  count(*) FILTER (WHERE status = 'REFUSED')::int AS refused
FROM evenkeel.background_outbox_event WHERE status IN ('PENDING', 'REFUSED')`;

/** Creates the outbox on a connection pool. */
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
      await sql.query(
        settleStatement.text,
        settleStatement.values({
          fence,
          sent: JSON.stringify(sent),
          refused: JSON.stringify(
            refused.map(({ place, error }) => ({ place, error: redactError(error) })),
          ),
          error: failure === undefined ? null : redactError(failure.error),
          delayMs: failure?.delayMs ?? 0,
          release: release || failure !== undefined,
        }),
      );
    },
    backlog: async () => {
      const [row] = await sql.query<OutboxBacklog>(backlogStatement);
      return row ?? { pending: 0, oldestMs: 0, refused: 0 };
    },
  };
}
