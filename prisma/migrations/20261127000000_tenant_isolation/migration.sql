-- A second wall between tenants. A session that works for one tenant takes the role evenkeel_tenant and names
-- the tenant in evenkeel.tenant_id, both for its transaction alone; it then sees and writes that tenant's rows
-- and no others, whatever its statement asks for. Every other session is as it was: the policy for everyone is
-- plain true, which costs a plan nothing.
--
-- A role belongs to the cluster. Where the migrating user may not create it, nothing is switched on, and an
-- administrator can do so later: CREATE ROLE "evenkeel_tenant" NOLOGIN; GRANT "evenkeel_tenant" TO <user>;
-- SELECT "evenkeel"."enable_tenant_isolation"();
CREATE FUNCTION "evenkeel"."enable_tenant_isolation"() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  "name" TEXT;
BEGIN
  GRANT USAGE ON SCHEMA "evenkeel" TO "evenkeel_tenant";
  FOREACH "name" IN ARRAY ARRAY[
    'background_job', 'background_job_history', 'background_dead_letter', 'background_function_run',
    'background_dispatch_window', 'background_outbox_event', 'background_audit_entry',
    'background_job_unique_key', 'background_effect'
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
  -- What is decided about one tenant is for that tenant to see; what is decided about all or a type, for all.
  ALTER TABLE "evenkeel"."background_job_limit" ENABLE ROW LEVEL SECURITY;
  GRANT SELECT ON "evenkeel"."background_job_limit" TO "evenkeel_tenant";
  DROP POLICY IF EXISTS "everyone" ON "evenkeel"."background_job_limit";
  CREATE POLICY "everyone" ON "evenkeel"."background_job_limit" USING (true) WITH CHECK (true);
  DROP POLICY IF EXISTS "one_tenant" ON "evenkeel"."background_job_limit";
  CREATE POLICY "one_tenant" ON "evenkeel"."background_job_limit" AS RESTRICTIVE TO "evenkeel_tenant"
    USING ("kind" <> 'TENANT' OR "subject" = current_setting('evenkeel.tenant_id', true));
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
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'evenkeel_tenant') THEN
    CREATE ROLE "evenkeel_tenant" NOLOGIN;
  END IF;
  GRANT "evenkeel_tenant" TO CURRENT_USER;
  PERFORM "evenkeel"."enable_tenant_isolation"();
EXCEPTION
  -- Two databases of one cluster may be migrated at once; the second one finds the role.
  WHEN duplicate_object OR unique_violation THEN
    PERFORM "evenkeel"."enable_tenant_isolation"();
  WHEN insufficient_privilege THEN
    RAISE WARNING 'evenkeel: row-level security is off, because this user may not create roles';
END
$$;
