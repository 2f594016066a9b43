-- Users other than the owner, and what keeps tenants apart for them.

-- Tenant isolation ------------------------------------------------------------------------------------------------
-- As before, for every table that has a tenant; and a session is held to one tenant only while evenkeel_tenant is the
-- role that it acts as. A policy for a role applies to each user that inherits the role as well: such a user was held
-- to no tenant at all, so that its inserts were refused and its claims found nothing.
--
-- A migration that adds a table with a tenant_id calls this where the policy one_tenant is on the others.
CREATE OR REPLACE FUNCTION evenkeel.enable_tenant_isolation() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  name text;
  rights text;
  condition text;
BEGIN
  GRANT USAGE ON SCHEMA evenkeel TO evenkeel_tenant;
  FOR name, rights, condition IN
    SELECT class.relname, 'SELECT, INSERT, UPDATE, DELETE',
      'tenant_id = current_setting(''evenkeel.tenant_id'', true)'
    FROM pg_class AS class
    JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attname = 'tenant_id'
    WHERE class.relnamespace = 'evenkeel'::regnamespace AND class.relkind = 'r'
    UNION ALL VALUES
      -- What is decided about one tenant is for that tenant to see; what is decided about all or a type, for all.
      ('background_job_limit', 'SELECT',
        'kind <> ''TENANT'' OR subject = current_setting(''evenkeel.tenant_id'', true)'),
      -- An attempt is whose its run is.
      ('background_function_attempt', 'SELECT',
        'EXISTS (SELECT FROM evenkeel.background_function_run AS run WHERE run.id = run_row_id '
        'AND run.tenant_id = current_setting(''evenkeel.tenant_id'', true))')
    ORDER BY 1
  LOOP
    EXECUTE format('ALTER TABLE evenkeel.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('GRANT %s ON evenkeel.%I TO evenkeel_tenant', rights, name);
    EXECUTE format('DROP POLICY IF EXISTS everyone ON evenkeel.%I', name);
    EXECUTE format('CREATE POLICY everyone ON evenkeel.%I USING (true) WITH CHECK (true)', name);
    EXECUTE format('DROP POLICY IF EXISTS one_tenant ON evenkeel.%I', name);
    EXECUTE format(
      'CREATE POLICY one_tenant ON evenkeel.%1$I AS RESTRICTIVE TO evenkeel_tenant '
      'USING (current_user <> ''evenkeel_tenant'' OR %2$s) '
      'WITH CHECK (current_user <> ''evenkeel_tenant'' OR %2$s)', name, condition);
  END LOOP;
END
$$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_policies WHERE schemaname = 'evenkeel' AND policyname = 'one_tenant') THEN
    PERFORM evenkeel.enable_tenant_isolation();
  END IF;
END
$$;

-- Grants ----------------------------------------------------------------------------------------------------------
-- Gives a user that does not own the tables what the ledger needs, and no more: every call but migrate(), which it may
-- call where nothing is pending. The owner calls it once per user, and may call it again. What later migrations add is
-- granted by itself, to each user that was named here.
--
-- The user may take the role evenkeel_tenant, for the reads of one tenant, and inherits nothing of it: a role between
-- the two stops the inheritance, which in PostgreSQL 15 is a property of a role and not of a grant.
CREATE FUNCTION evenkeel.grant_to(grantee name) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'evenkeel.background_job'::regclass);
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA evenkeel TO %I', grantee);
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA evenkeel TO %I', grantee);
  EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA evenkeel TO %I', grantee);
  IF grantee = owner THEN
    RETURN;
  END IF;
  IF to_regclass('evenkeel._prisma_migrations') IS NOT NULL THEN
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON evenkeel._prisma_migrations FROM %I', grantee);
  END IF;
  EXECUTE format(
    'ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA evenkeel GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I',
    owner, grantee);
  EXECUTE format(
    'ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA evenkeel GRANT USAGE ON SEQUENCES TO %I', owner, grantee);
  IF to_regrole('evenkeel_tenant') IS NULL THEN
    RAISE WARNING 'evenkeel: row-level security is off, because there is no role evenkeel_tenant';
    RETURN;
  END IF;
  BEGIN
    IF to_regrole('evenkeel_tenant_access') IS NULL THEN
      CREATE ROLE evenkeel_tenant_access NOLOGIN NOINHERIT;
    END IF;
    IF NOT pg_has_role('evenkeel_tenant_access', 'evenkeel_tenant', 'MEMBER') THEN
      GRANT evenkeel_tenant TO evenkeel_tenant_access;
    END IF;
    EXECUTE format('GRANT evenkeel_tenant_access TO %I', grantee);
    IF EXISTS (
      SELECT FROM pg_auth_members
      WHERE roleid = to_regrole('evenkeel_tenant') AND member = to_regrole(quote_ident(grantee))
    ) THEN
      EXECUTE format('REVOKE evenkeel_tenant FROM %I', grantee);
    END IF;
  EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'evenkeel: % may not take the role evenkeel_tenant: %', grantee, SQLERRM
      USING HINT = 'Call evenkeel.grant_to as a user that may create roles and grant evenkeel_tenant.';
  END;
END
$$;

-- Checks ----------------------------------------------------------------------------------------------------------
-- What no statement of the ledger writes: rows that nothing would ever find again. Rows that are there already are not
-- read; a later migration validates.
--
-- A window that is being dispatched is claimed again when its lease ends, and one that was sent is found by that time.
ALTER TABLE evenkeel.background_dispatch_window
  ADD CONSTRAINT background_dispatch_window_leased
    CHECK (status <> 'DISPATCHING' OR lease_expires_at IS NOT NULL) NOT VALID,
  ADD CONSTRAINT background_dispatch_window_sent_at
    CHECK (status <> 'ENQUEUED' OR enqueued_at IS NOT NULL) NOT VALID,
  ADD CONSTRAINT background_dispatch_window_counted
    CHECK (window_seconds > 0 AND claim_count >= 0 AND duplicate_count >= 0 AND failure_count >= 0
      AND repair_count >= 0) NOT VALID;
ALTER TABLE evenkeel.background_dispatch_guard
  ADD CONSTRAINT background_dispatch_guard_numbered CHECK (continuation >= 0) NOT VALID;
-- A run without an end is found by its heartbeat, one that ended is kept by the time of its end.
ALTER TABLE evenkeel.background_function_run
  ADD CONSTRAINT background_function_run_ended
    CHECK ((status IN ('RUNNING', 'STALE')) = (finished_at IS NULL)) NOT VALID;
ALTER TABLE evenkeel.background_effect
  ADD CONSTRAINT background_effect_ended CHECK (state <> 'DONE' OR finished_at IS NOT NULL) NOT VALID;
ALTER TABLE evenkeel.background_dead_letter
  ADD CONSTRAINT background_dead_letter_decided CHECK ((status = 'OPEN') = (resolved_at IS NULL)) NOT VALID;
ALTER TABLE evenkeel.background_outbox_event
  ADD CONSTRAINT background_outbox_event_decided CHECK ((status = 'PENDING') = (settled_at IS NULL)) NOT VALID;
ALTER TABLE evenkeel.background_schedule
  ADD CONSTRAINT background_schedule_paused_since CHECK (NOT paused OR paused_at IS NOT NULL) NOT VALID;
ALTER TABLE evenkeel.background_job_limit
  ADD CONSTRAINT background_job_limit_paused_since CHECK (NOT paused OR paused_at IS NOT NULL) NOT VALID,
  ADD CONSTRAINT background_job_limit_rated CHECK ((rate_limit IS NULL) = (rate_period_ms IS NULL)) NOT VALID;

-- Keys ------------------------------------------------------------------------------------------------------------
-- Keys are compared by their bytes. In the database's own collation their order changes with the operating system's
-- library, and a unique index that was built in the old order lets a key in twice: promise P1 rests on such indexes.
-- The keys of jobs are left as they are: they are compared with one another, and an index serves one collation alone.
--
-- It rebuilds the indexes of these columns while nobody else can use the tables, a few seconds per million rows. So it
-- is done here as long as the tables are small, and otherwise by the owner, when that suits: it may be repeated.
CREATE FUNCTION evenkeel.collate_keys() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  name text;
  columns text;
BEGIN
  FOR name, columns IN
    SELECT class.relname, string_agg(
      format('ALTER COLUMN %I TYPE text COLLATE "C"', attribute.attname), ', ' ORDER BY attribute.attnum)
    FROM (VALUES
      ('background_schedule', 'id'),
      ('background_dispatch_window', 'dispatch_key'), ('background_dispatch_window', 'schedule'),
      ('background_dispatch_guard', 'function_id'), ('background_dispatch_guard', 'dispatch_key'),
      ('background_dispatch_guard', 'run_id'),
      ('background_function_run', 'run_id'), ('background_function_run', 'function_id'),
      ('background_function_run', 'dispatch_key'),
      ('background_dead_letter', 'source_id'), ('background_outbox_event', 'event_id')
    ) AS key (relation, attribute)
    JOIN pg_class AS class ON class.relname = key.relation AND class.relnamespace = 'evenkeel'::regnamespace
    JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attname = key.attribute
    WHERE attribute.attcollation <> (
      SELECT oid FROM pg_collation WHERE collname = 'C' AND collnamespace = 'pg_catalog'::regnamespace)
    GROUP BY class.relname
    ORDER BY class.relname
  LOOP
    EXECUTE format('ALTER TABLE evenkeel.%I %s', name, columns);
  END LOOP;
END
$$;

DO $$
BEGIN
  IF (
    SELECT count(*) FROM (
      (SELECT FROM evenkeel.background_dispatch_window LIMIT 10000) UNION ALL
      (SELECT FROM evenkeel.background_dispatch_guard LIMIT 10000) UNION ALL
      (SELECT FROM evenkeel.background_function_run LIMIT 10000) UNION ALL
      (SELECT FROM evenkeel.background_dead_letter LIMIT 10000) UNION ALL
      (SELECT FROM evenkeel.background_outbox_event LIMIT 10000)
    ) AS found
  ) < 10000 THEN
    PERFORM evenkeel.collate_keys();
  ELSE
    RAISE WARNING 'evenkeel: keys keep the collation of the database'
      USING HINT = 'SELECT evenkeel.collate_keys() in a quiet hour changes it.';
  END IF;
END
$$;

-- Storage settings ------------------------------------------------------------------------------------------------
-- A payload of more than 2 KB is stored beside its table, in a TOAST table that has vacuum settings of its own: a fifth
-- of it had to be dead before it was cleared away, while its table was cleared all the time.
ALTER TABLE evenkeel.background_job SET (
  toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 1000,
  toast.autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE evenkeel.background_job_history SET (
  toast.autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_insert_scale_factor = 0.1
);
ALTER TABLE evenkeel.background_outbox_event
  SET (toast.autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_threshold = 200);
ALTER TABLE evenkeel.background_function_run SET (toast.autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE evenkeel.background_dead_letter SET (
  autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05
);
