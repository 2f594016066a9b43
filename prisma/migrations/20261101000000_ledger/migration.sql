-- Everything Evenkeel keeps lives in its own schema, next to the product's tables.
CREATE SCHEMA IF NOT EXISTS "evenkeel";

CREATE TYPE "evenkeel"."lane" AS ENUM ('stable', 'canary');
CREATE TYPE "evenkeel"."window_status" AS ENUM ('DISPATCHING', 'ENQUEUED', 'ENQUEUE_FAILED', 'INLINE_EMERGENCY');
CREATE TYPE "evenkeel"."run_status" AS ENUM ('RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'STALE', 'SKIPPED_DUPLICATE');
CREATE TYPE "evenkeel"."job_state" AS ENUM ('PENDING', 'RUNNING');
CREATE TYPE "evenkeel"."job_outcome" AS ENUM ('SUCCEEDED', 'DEAD', 'CANCELLED');
CREATE TYPE "evenkeel"."job_limit_kind" AS ENUM ('QUEUE', 'TYPE', 'TENANT', 'EVERY_TENANT');
CREATE TYPE "evenkeel"."effect_state" AS ENUM ('STARTED', 'DONE');
CREATE TYPE "evenkeel"."dead_letter_kind" AS ENUM ('JOB', 'RUN', 'DISPATCH');
CREATE TYPE "evenkeel"."dead_letter_status" AS ENUM ('OPEN', 'REQUEUED', 'DISCARDED');

CREATE TABLE "evenkeel"."background_schedule" (
    "id" TEXT NOT NULL,
    "paused" BOOLEAN NOT NULL DEFAULT false,
    "paused_at" TIMESTAMPTZ(3),
    "paused_by" TEXT,
    "pause_reason" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "background_schedule_pkey" PRIMARY KEY ("id")
);

-- The primary key is promise P1: one row, hence one claim at a time, per window.
CREATE TABLE "evenkeel"."background_dispatch_window" (
    "dispatch_key" TEXT NOT NULL,
    "schedule" TEXT NOT NULL,
    "scope" TEXT NOT NULL,
    "tenant_id" TEXT,
    "window_start" TIMESTAMPTZ(3) NOT NULL,
    "window_seconds" INTEGER NOT NULL,
    "lane" "evenkeel"."lane" NOT NULL DEFAULT 'stable',
    "status" "evenkeel"."window_status" NOT NULL,
    "fence" UUID NOT NULL,
    "lease_expires_at" TIMESTAMPTZ(3),
    "owner" TEXT NOT NULL,
    "correlation_id" TEXT NOT NULL,
    "claim_count" INTEGER NOT NULL DEFAULT 1,
    "duplicate_count" INTEGER NOT NULL DEFAULT 0,
    "failure_count" INTEGER NOT NULL DEFAULT 0,
    "repair_count" INTEGER NOT NULL DEFAULT 0,
    "last_error" TEXT,
    -- What a repair needs to send the same events again.
    "params" JSONB,
    "enqueued_at" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "background_dispatch_window_pkey" PRIMARY KEY ("dispatch_key")
);

-- Serves the console's list of a schedule's windows.
CREATE INDEX "background_dispatch_window_by_schedule"
    ON "evenkeel"."background_dispatch_window" ("schedule", "window_start" DESC);
-- Serves the search for claims that expired or failed: a handful of rows among millions.
CREATE INDEX "background_dispatch_window_undispatched"
    ON "evenkeel"."background_dispatch_window" ("lease_expires_at")
    WHERE "status" IN ('DISPATCHING', 'ENQUEUE_FAILED');

CREATE TABLE "evenkeel"."background_dispatch_guard" (
    "function_id" TEXT NOT NULL,
    "dispatch_key" TEXT NOT NULL,
    "continuation" INTEGER NOT NULL DEFAULT 0,
    "run_id" TEXT NOT NULL,
    "taken_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "background_dispatch_guard_pkey" PRIMARY KEY ("function_id", "dispatch_key", "continuation")
);

CREATE TABLE "evenkeel"."background_function_run" (
    "id" UUID NOT NULL DEFAULT gen_random_uuid(),
    "run_id" TEXT NOT NULL,
    "function_id" TEXT NOT NULL,
    "dispatch_key" TEXT,
    "continuation" INTEGER NOT NULL DEFAULT 0,
    "event_name" TEXT NOT NULL,
    "event_id" TEXT,
    "lane" "evenkeel"."lane" NOT NULL DEFAULT 'stable',
    "tenant_id" TEXT,
    "correlation_id" TEXT,
    "status" "evenkeel"."run_status" NOT NULL DEFAULT 'RUNNING',
    "fence" UUID NOT NULL DEFAULT gen_random_uuid(),
    "owner" TEXT NOT NULL,
    "duplicate_of" TEXT,
    "output" JSONB,
    "last_error" TEXT,
    "heartbeat_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "started_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "finished_at" TIMESTAMPTZ(3),
    CONSTRAINT "background_function_run_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "background_function_run_identity"
    ON "evenkeel"."background_function_run" ("run_id", "function_id");
CREATE INDEX "background_function_run_by_window"
    ON "evenkeel"."background_function_run" ("dispatch_key", "function_id")
    WHERE "dispatch_key" IS NOT NULL;
CREATE INDEX "background_function_run_running"
    ON "evenkeel"."background_function_run" ("heartbeat_at")
    WHERE "status" = 'RUNNING';
CREATE INDEX "background_function_run_recent"
    ON "evenkeel"."background_function_run" ("started_at" DESC);

CREATE TABLE "evenkeel"."background_function_attempt" (
    "run_row_id" UUID NOT NULL,
    "attempt" INTEGER NOT NULL,
    "owner" TEXT NOT NULL,
    "error" TEXT,
    "started_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "finished_at" TIMESTAMPTZ(3),
    CONSTRAINT "background_function_attempt_pkey" PRIMARY KEY ("run_row_id", "attempt"),
    CONSTRAINT "background_function_attempt_run_row_id_fkey" FOREIGN KEY ("run_row_id")
        REFERENCES "evenkeel"."background_function_run" ("id") ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE "evenkeel"."background_job" (
    "id" BIGSERIAL NOT NULL,
    "tenant_id" TEXT NOT NULL,
    "type" TEXT NOT NULL,
    "version" INTEGER NOT NULL DEFAULT 1,
    "payload" JSONB NOT NULL,
    "lane" "evenkeel"."lane" NOT NULL DEFAULT 'stable',
    "state" "evenkeel"."job_state" NOT NULL DEFAULT 'PENDING',
    "priority" SMALLINT NOT NULL DEFAULT 0,
    "run_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "attempt" INTEGER NOT NULL DEFAULT 0,
    "max_attempts" INTEGER NOT NULL,
    "unique_key" TEXT,
    "fence" BIGINT NOT NULL DEFAULT 0,
    -- Claimed under a cap of its tenant or type: the cap counts these.
    "capped" BOOLEAN NOT NULL DEFAULT false,
    "lease_expires_at" TIMESTAMPTZ(3),
    "owner" TEXT,
    -- How far it is, as its handler last said.
    "progress" JSONB,
    "errors" JSONB NOT NULL DEFAULT '[]',
    "correlation_id" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "background_job_pkey" PRIMARY KEY ("id")
);

-- A unique key holds while its job is unsettled, within one tenant and type.
CREATE UNIQUE INDEX "background_job_unsettled_unique"
    ON "evenkeel"."background_job" ("tenant_id", "type", "unique_key")
    WHERE "unique_key" IS NOT NULL;
-- Who holds a unique key that outlasts its job, or ends before it: the job enqueued last under it.
CREATE TABLE "evenkeel"."background_job_unique_key" (
    "tenant_id" TEXT NOT NULL,
    "type" TEXT NOT NULL,
    "unique_key" TEXT NOT NULL,
    "job_id" BIGINT NOT NULL,
    -- The holder before, which an enqueue saw gone: it takes the key only from that one.
    "replaced_job_id" BIGINT NOT NULL,
    "enqueued_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "background_job_unique_key_pkey" PRIMARY KEY ("tenant_id", "type", "unique_key")
);
CREATE INDEX "background_job_unique_key_prunable"
    ON "evenkeel"."background_job_unique_key" ("enqueued_at");
-- Serves the claim: per type it knows and priority, the next tenant after a cursor and that tenant's oldest due
-- jobs. The type comes before the tenant so that a backlog of types nobody here knows costs a claim nothing.
CREATE INDEX "background_job_due"
    ON "evenkeel"."background_job" ("lane", "type", "priority", "tenant_id", "run_at", "id")
    WHERE "state" = 'PENDING';
-- Serves the claim: which priorities there are beside the usual one.
CREATE INDEX "background_job_prioritized"
    ON "evenkeel"."background_job" ("lane", "type", "priority")
    WHERE "state" = 'PENDING' AND "priority" <> 0;
-- Serve the caps: what runs under one. Jobs without a cap are in neither.
CREATE INDEX "background_job_capped_tenant"
    ON "evenkeel"."background_job" ("tenant_id")
    WHERE "state" = 'RUNNING' AND "capped";
CREATE INDEX "background_job_capped_type"
    ON "evenkeel"."background_job" ("type")
    WHERE "state" = 'RUNNING' AND "capped";
-- Serves the recovery of jobs whose worker died.
CREATE INDEX "background_job_expired"
    ON "evenkeel"."background_job" ("lane", "lease_expires_at")
    WHERE "state" = 'RUNNING';

-- Where the rotation over tenants goes on, per lane: one row that a drain moves once, not every claim. A type
-- with a cap has a rotation of its own; the type is '' for all others together.
CREATE TABLE "evenkeel"."background_job_rotation" (
    "lane" "evenkeel"."lane" NOT NULL,
    "type" TEXT NOT NULL DEFAULT '',
    "after_tenant" TEXT NOT NULL,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "background_job_rotation_pkey" PRIMARY KEY ("lane", "type")
);

-- What operators decided about the queue as a whole, a type, a tenant, or every tenant; the subject is the type
-- or the tenant's id, and '' for the others. A tenant without a row of its own gets an empty one at its first
-- claim under a limit for every tenant: claims lock it, and change its version.
CREATE TABLE "evenkeel"."background_job_limit" (
    "kind" "evenkeel"."job_limit_kind" NOT NULL,
    "subject" TEXT NOT NULL,
    "paused" BOOLEAN NOT NULL DEFAULT false,
    "paused_at" TIMESTAMPTZ(3),
    "paused_by" TEXT,
    "pause_reason" TEXT,
    -- Most jobs running at a time.
    "max_running" INTEGER,
    -- Most jobs started in any period.
    "rate_limit" INTEGER,
    "rate_period_ms" INTEGER,
    -- Jobs started, by the tenth of a period: {"<number of the tenth since 1970>": jobs}.
    "spent" JSONB NOT NULL DEFAULT '{}',
    "version" BIGINT NOT NULL DEFAULT 0,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "background_job_limit_pkey" PRIMARY KEY ("kind", "subject")
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200);

-- Calls of jobs to the outside world: what was begun, under which key, and how it ended. A record outlives its
-- job's row, which moves to the history, so no foreign key ties them.
CREATE TABLE "evenkeel"."background_effect" (
    "job_id" BIGINT NOT NULL,
    "name" TEXT NOT NULL,
    "tenant_id" TEXT NOT NULL,
    "idempotency_key" UUID NOT NULL DEFAULT gen_random_uuid(),
    "state" "evenkeel"."effect_state" NOT NULL DEFAULT 'STARTED',
    -- Of the job's claim that began it last.
    "fence" BIGINT NOT NULL,
    "tries" INTEGER NOT NULL DEFAULT 1,
    "result" JSONB,
    "started_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "finished_at" TIMESTAMPTZ(3),
    CONSTRAINT "background_effect_pkey" PRIMARY KEY ("job_id", "name")
);
-- Serves retention. Recording an effect's end changes none of its columns.
CREATE INDEX "background_effect_prunable" ON "evenkeel"."background_effect" ("started_at");

CREATE TABLE "evenkeel"."background_job_history" (
    "id" BIGINT NOT NULL,
    "tenant_id" TEXT NOT NULL,
    "type" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "payload" JSONB NOT NULL,
    "lane" "evenkeel"."lane" NOT NULL,
    "outcome" "evenkeel"."job_outcome" NOT NULL,
    "priority" SMALLINT NOT NULL DEFAULT 0,
    "run_at" TIMESTAMPTZ(3) NOT NULL,
    "attempt" INTEGER NOT NULL,
    "unique_key" TEXT,
    "result" JSONB,
    "errors" JSONB NOT NULL,
    "correlation_id" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "finished_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "background_job_history_pkey" PRIMARY KEY ("id")
);

-- Serves a tenant's list of jobs.
CREATE INDEX "background_job_history_by_tenant"
    ON "evenkeel"."background_job_history" ("tenant_id", "id" DESC);

CREATE TABLE "evenkeel"."background_dead_letter" (
    "id" UUID NOT NULL DEFAULT gen_random_uuid(),
    "kind" "evenkeel"."dead_letter_kind" NOT NULL,
    "source_id" TEXT NOT NULL,
    "tenant_id" TEXT,
    "name" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "error" TEXT NOT NULL,
    "payload" JSONB,
    "history" JSONB NOT NULL DEFAULT '[]',
    "status" "evenkeel"."dead_letter_status" NOT NULL DEFAULT 'OPEN',
    "previous_id" UUID,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "resolved_at" TIMESTAMPTZ(3),
    "resolved_by" TEXT,
    CONSTRAINT "background_dead_letter_pkey" PRIMARY KEY ("id")
);

-- One open letter per failed thing, however often its failure is reported; what is redriven may die again.
CREATE UNIQUE INDEX "background_dead_letter_open_source"
    ON "evenkeel"."background_dead_letter" ("kind", "source_id")
    WHERE "status" = 'OPEN';
-- Serves the search for earlier letters of one thing.
CREATE INDEX "background_dead_letter_by_source"
    ON "evenkeel"."background_dead_letter" ("kind", "source_id", "created_at" DESC);
CREATE INDEX "background_dead_letter_open"
    ON "evenkeel"."background_dead_letter" ("created_at" DESC)
    WHERE "status" = 'OPEN';

-- Serves the search for windows that were sent and never started: the newest first, and few.
CREATE INDEX "background_dispatch_window_sent"
    ON "evenkeel"."background_dispatch_window" ("enqueued_at")
    WHERE "status" = 'ENQUEUED';

-- Serves the search for windows that were sent again and again and never started.
CREATE INDEX "background_dispatch_window_repaired"
    ON "evenkeel"."background_dispatch_window" ("window_start")
    WHERE "status" = 'ENQUEUED' AND "repair_count" > 0;

-- What retention looks for: the oldest settled rows of a status. Each index leaves the hot paths alone: it
-- holds no row that a claim, a heartbeat or a duplicate tick updates, or no column that they change.
-- Windows that were sent have background_dispatch_window_sent; these are the few others.
CREATE INDEX "background_dispatch_window_prunable"
    ON "evenkeel"."background_dispatch_window" ("status", "window_start")
    WHERE "status" NOT IN ('DISPATCHING', 'ENQUEUED', 'ENQUEUE_FAILED');

CREATE INDEX "background_dispatch_guard_prunable"
    ON "evenkeel"."background_dispatch_guard" ("taken_at");

CREATE INDEX "background_function_run_prunable"
    ON "evenkeel"."background_function_run" ("status", "finished_at")
    WHERE "finished_at" IS NOT NULL;

CREATE INDEX "background_function_run_stale"
    ON "evenkeel"."background_function_run" ("heartbeat_at")
    WHERE "status" = 'STALE';

CREATE INDEX "background_job_history_prunable"
    ON "evenkeel"."background_job_history" ("outcome", "finished_at");

CREATE INDEX "background_dead_letter_prunable"
    ON "evenkeel"."background_dead_letter" ("status", "resolved_at")
    WHERE "resolved_at" IS NOT NULL;
