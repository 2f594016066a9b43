-- How often in a row the worker of a job went away while it ran it.
ALTER TABLE "evenkeel"."background_job" ADD COLUMN "crashes" INTEGER NOT NULL DEFAULT 0;
