-- What operators did: written in the same statement as what it records.
CREATE TABLE "evenkeel"."background_audit_entry" (
    "id" UUID NOT NULL DEFAULT gen_random_uuid(),
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "actor" TEXT NOT NULL,
    "action" TEXT NOT NULL,
    "subject_kind" TEXT NOT NULL,
    "subject_id" TEXT NOT NULL,
    "tenant_id" TEXT,
    "before" JSONB,
    "after" JSONB,
    "reason" TEXT,
    CONSTRAINT "background_audit_entry_pkey" PRIMARY KEY ("id")
);
CREATE INDEX "background_audit_entry_recent" ON "evenkeel"."background_audit_entry" ("at" DESC);
CREATE INDEX "background_audit_entry_by_subject"
    ON "evenkeel"."background_audit_entry" ("subject_kind", "subject_id");

-- The letter that a redriven job came from, so that its next letter can name it.
ALTER TABLE "evenkeel"."background_job" ADD COLUMN "redriven_from" UUID;
