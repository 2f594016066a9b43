import type { Pool } from "pg";

import { inTransaction } from "./transaction.ts";

/** A lock of this product's own, held by the transaction that creates the tables. */
const prepareLock = 7_305_416_021;

const tables = `
CREATE SCHEMA IF NOT EXISTS "inbox";

CREATE TABLE IF NOT EXISTS "inbox"."message" (
  "tenant_id" text NOT NULL,
  "id" text NOT NULL,
  "raw" bytea NOT NULL,
  "received_at" timestamptz NOT NULL DEFAULT now(),
  -- Set when the message has been processed.
  "class" text,
  -- Its own link in "thread_link", which knows its thread.
  "thread_link" text,
  "header_id" text,
  "references" text[],
  "subject" text,
  "from_name" text,
  "from_address" text,
  "reply_address" text,
  "text" text,
  PRIMARY KEY ("tenant_id", "id")
);

-- Ids and subjects that tie messages together, seen or only referred to, each with its thread.
CREATE TABLE IF NOT EXISTS "inbox"."thread_link" (
  "tenant_id" text NOT NULL,
  "link" text NOT NULL,
  "thread_id" text NOT NULL,
  PRIMARY KEY ("tenant_id", "link")
);
CREATE INDEX IF NOT EXISTS "thread_link_by_thread" ON "inbox"."thread_link" ("tenant_id", "thread_id");

CREATE TABLE IF NOT EXISTS "inbox"."draft" (
  "tenant_id" text NOT NULL,
  "message_id" text NOT NULL,
  "subject" text NOT NULL,
  "body" text NOT NULL,
  "created_at" timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY ("tenant_id", "message_id"),
  FOREIGN KEY ("tenant_id", "message_id") REFERENCES "inbox"."message"
);

-- One reply per message: a second one cannot be reserved, whoever tries.
CREATE TABLE IF NOT EXISTS "inbox"."outbound" (
  "tenant_id" text NOT NULL,
  "message_id" text NOT NULL,
  "recipient" text NOT NULL,
  "subject" text NOT NULL,
  "in_reply_to" text NOT NULL,
  "references" text[] NOT NULL,
  "job_id" text NOT NULL,
  "sent_at" timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT "outbound_once" PRIMARY KEY ("tenant_id", "message_id"),
  FOREIGN KEY ("tenant_id", "message_id") REFERENCES "inbox"."draft"
);

-- What reached the outside, appended and never constrained: two rows for a message are two e-mails.
CREATE TABLE IF NOT EXISTS "inbox"."delivery" (
  "id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  "tenant_id" text NOT NULL,
  "message_id" text NOT NULL,
  "recipient" text NOT NULL,
  "job_id" text NOT NULL,
  "attempt" int NOT NULL,
  "delivered_at" timestamptz NOT NULL DEFAULT now()
);

-- Attempts to send a reply that had been sent: by another job, or by the same one that was run again
-- because its worker died before it could settle.
CREATE TABLE IF NOT EXISTS "inbox"."double_send_attempt" (
  "id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  "tenant_id" text NOT NULL,
  "message_id" text NOT NULL,
  "job_id" text NOT NULL,
  "attempt" int NOT NULL,
  "is_same_job" boolean NOT NULL,
  "tried_at" timestamptz NOT NULL DEFAULT now()
);`;

/** Creates the product's tables where they are missing; any number of hosts may call it at once. */
export function prepareTables(pool: Pool): Promise<void> {
  return inTransaction(pool, async (tx) => {
    await tx.query("SELECT pg_advisory_xact_lock($1)", [prepareLock]);
    await tx.query(tables);
  });
}
