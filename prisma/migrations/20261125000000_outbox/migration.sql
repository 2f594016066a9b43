-- Events that a product's own transaction asks for: written with it, sent after it.
CREATE TYPE "evenkeel"."outbox_status" AS ENUM ('PENDING', 'SENT', 'REFUSED');

-- A refused event gets a dead letter of its own kind.
ALTER TYPE "evenkeel"."dead_letter_kind" ADD VALUE IF NOT EXISTS 'EVENT';

CREATE TABLE "evenkeel"."background_outbox_event" (
    "id" BIGSERIAL NOT NULL,
    "event_id" TEXT NOT NULL,
    "tenant_id" TEXT,
    "name" TEXT NOT NULL,
    "data" JSONB NOT NULL,
    "status" "evenkeel"."outbox_status" NOT NULL DEFAULT 'PENDING',
    "last_error" TEXT,
    "occurred_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "settled_at" TIMESTAMPTZ(3),
    CONSTRAINT "background_outbox_event_pkey" PRIMARY KEY ("id")
);

-- One event per id, however often it is added.
CREATE UNIQUE INDEX "background_outbox_event_identity"
    ON "evenkeel"."background_outbox_event" ("event_id");
-- Serves the relay: what is to be sent, in the order in which it was added.
CREATE INDEX "background_outbox_event_pending"
    ON "evenkeel"."background_outbox_event" ("id")
    WHERE "status" = 'PENDING';
-- Serves retention.
CREATE INDEX "background_outbox_event_settled"
    ON "evenkeel"."background_outbox_event" ("settled_at")
    WHERE "settled_at" IS NOT NULL;

-- Who relays, and from when on: one row that all hosts share, so that one of them sends at a time, in order,
-- and all of them keep away while Inngest is away.
CREATE TABLE "evenkeel"."background_outbox_relay" (
    "name" TEXT NOT NULL,
    "fence" UUID NOT NULL,
    "owner" TEXT NOT NULL,
    "lease_expires_at" TIMESTAMPTZ(3) NOT NULL,
    "not_before" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "failure_count" INTEGER NOT NULL DEFAULT 0,
    "last_error" TEXT,
    CONSTRAINT "background_outbox_relay_pkey" PRIMARY KEY ("name")
);

-- The queue of events is short-lived rows in one order: dead ones are to go soon.
ALTER TABLE "evenkeel"."background_outbox_event"
    SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
