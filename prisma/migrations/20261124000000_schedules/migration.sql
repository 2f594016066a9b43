-- A window that should have been dispatched and was not, or that its schedule's overlap rule left out.
ALTER TYPE "evenkeel"."window_status" ADD VALUE IF NOT EXISTS 'MISSED';
ALTER TYPE "evenkeel"."window_status" ADD VALUE IF NOT EXISTS 'SKIPPED_OVERLAP';

-- The definition as the newest host declared it; what operators decided stays beside it.
ALTER TABLE "evenkeel"."background_schedule" ADD COLUMN "definition" JSONB;
