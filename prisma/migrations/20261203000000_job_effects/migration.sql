-- Calls of jobs to the outside world: what was begun, under which key, and how it ended. A record outlives its
-- job's row, which moves to the history, so no foreign key ties them.
CREATE TYPE "evenkeel"."effect_state" AS ENUM ('STARTED', 'DONE');

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

-- How far a running job is, as its handler last said.
ALTER TABLE "evenkeel"."background_job" ADD COLUMN "progress" JSONB;

-- As in 20261127000000_tenant_isolation, with the new table.
CREATE OR REPLACE FUNCTION "evenkeel"."enable_tenant_isolation"() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  "name" TEXT;
BEGIN
  GRANT USAGE ON SCHEMA "evenkeel" TO "evenkeel_tenant";
  FOREACH "name" IN ARRAY ARRAY[
    'background_job', 'background_job_history', 'background_dead_letter', 'background_function_run',
    'background_dispatch_window', 'background_outbox_event', 'background_audit_entry', 'background_effect'
  ] LOOP
    EXECUTE format('ALTER TABLE "evenkeel".%I ENABLE ROW LEVEL SECURITY', "name");
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON "evenkeel".%I TO "evenkeel_tenant"', "name");
    EXECUTE format('DROP POLICY IF EXISTS "everyone" ON "evenkeel".%I', "name");
    EXECUTE format('CREATE POLICY "everyone" ON "evenkeel".%I USING (true) WITH CHECK (true)', "name");
    EXECUTE format('DROP POLICY IF EXISTS "one_tenant" ON "evenkeel".%I', "name");
    EXECUTE format(
      'CREATE POLICY "one_tenant" ON "evenkeel".%I AS RESTRICTIVE TO "evenkeel_tenant" '
      'USING ("tenant_id" = current_setting(''evenkeel.tenant_id'', true)) '
      'WITH CHECK ("tenant_id" = current_setting(''evenkeel.tenant_id'', true))', "name");
  END LOOP;
  -- An attempt is whose its run is.
  ALTER TABLE "evenkeel"."background_function_attempt" ENABLE ROW LEVEL SECURITY;
  GRANT SELECT ON "evenkeel"."background_function_attempt" TO "evenkeel_tenant";
  DROP POLICY IF EXISTS "everyone" ON "evenkeel"."background_function_attempt";
  CREATE POLICY "everyone" ON "evenkeel"."background_function_attempt" USING (true) WITH CHECK (true);
  DROP POLICY IF EXISTS "one_tenant" ON "evenkeel"."background_function_attempt";
  CREATE POLICY "one_tenant" ON "evenkeel"."background_function_attempt" AS RESTRICTIVE TO "evenkeel_tenant"
    USING (EXISTS (
      SELECT FROM "evenkeel"."background_function_run" AS "r"
      WHERE "r"."id" = "run_row_id" AND "r"."tenant_id" = current_setting('evenkeel.tenant_id', true)
    ));
END
$$;

DO $$
BEGIN
  IF EXISTS (
    SELECT FROM pg_roles WHERE rolname = 'evenkeel_tenant' AND pg_has_role(CURRENT_USER, oid, 'MEMBER')
  ) THEN
    PERFORM "evenkeel"."enable_tenant_isolation"();
  END IF;
EXCEPTION
  WHEN insufficient_privilege THEN
    RAISE WARNING 'evenkeel: row-level security is off, because this user may not switch it on';
END
$$;
