-- A window that should have been dispatched and was not, or that its schedule's overlap rule left out.
ALTER TYPE "evenkeel"."window_status" ADD VALUE IF NOT EXISTS 'MISSED';
ALTER TYPE "evenkeel"."window_status" ADD VALUE IF NOT EXISTS 'SKIPPED_OVERLAP';

-- What a repair needs to send the same events again.
ALTER TABLE "evenkeel"."background_dispatch_window" ADD COLUMN "params" JSONB;
ALTER TABLE "evenkeel"."background_dispatch_window" ADD COLUMN "repair_count" INTEGER NOT NULL DEFAULT 0;

-- The definition as the newest host declared it; what operators decided stays beside it.
ALTER TABLE "evenkeel"."background_schedule" ADD COLUMN "definition" JSONB;
