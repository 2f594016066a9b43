-- Evenkeel's tables: what was due, what ran, what waits, and what failed. They live in a Postgres schema of their
-- own, next to the product's tables, so that a product's transaction can enqueue a job. The sections: enums,
-- schedules, windows, runs, jobs, limits, effects, poller, dead letters, outbox, audit, tenant isolation, storage.
--
-- Each index says what it serves. An index for retention ("prunable") holds no row that a claim, a heartbeat or a
-- duplicate tick updates, or no column that they change: the hot paths do not maintain it.
-- IF NOT EXISTS would ask for the right to create schemas even where an administrator has made this one.
DO $$ BEGIN IF to_regnamespace('evenkeel') IS NULL THEN CREATE SCHEMA evenkeel; END IF; END $$;

-- Enums -----------------------------------------------------------------------------------------------------------
-- The cohort of a release that a window, a run or a job belongs to.
CREATE TYPE evenkeel.lane AS ENUM ('stable', 'canary');
-- MISSED: it should have been dispatched and was not. SKIPPED_OVERLAP: its schedule's overlap rule left it out.
CREATE TYPE evenkeel.window_status AS ENUM (
  'DISPATCHING', 'ENQUEUED', 'ENQUEUE_FAILED', 'INLINE_EMERGENCY', 'MISSED', 'SKIPPED_OVERLAP'
);
-- STALE: no heartbeat for too long. SKIPPED_DUPLICATE: another run held the guard of its window.
CREATE TYPE evenkeel.run_status AS ENUM ('RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'STALE', 'SKIPPED_DUPLICATE');
-- A job that ended has an outcome in the history in place of a state.
CREATE TYPE evenkeel.job_state AS ENUM ('PENDING', 'RUNNING');
CREATE TYPE evenkeel.job_outcome AS ENUM ('SUCCEEDED', 'DEAD', 'CANCELLED');
-- What a limit is about: the whole queue, a type, a tenant, or each tenant without a limit of its own.
CREATE TYPE evenkeel.job_limit_kind AS ENUM ('QUEUE', 'TYPE', 'TENANT', 'EVERY_TENANT');
CREATE TYPE evenkeel.effect_state AS ENUM ('STARTED', 'DONE');
-- What failed: a job, a run, a window's dispatch, or an event of the outbox.
CREATE TYPE evenkeel.dead_letter_kind AS ENUM ('JOB', 'RUN', 'DISPATCH', 'EVENT');
CREATE TYPE evenkeel.dead_letter_status AS ENUM ('OPEN', 'REQUEUED', 'DISCARDED');
-- REFUSED: the server did not take the event, and will not; it has a dead letter.
CREATE TYPE evenkeel.outbox_status AS ENUM ('PENDING', 'SENT', 'REFUSED');

-- Schedules -------------------------------------------------------------------------------------------------------
-- What operators decided about a schedule. It survives deploys: code never unpauses.
CREATE TABLE evenkeel.background_schedule (
  id text PRIMARY KEY,
  paused boolean NOT NULL DEFAULT false,
  paused_at timestamptz(3), paused_by text, pause_reason text,
  -- As the newest host declared it; what operators decided stays beside it.
  definition jsonb,
  created_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

-- Windows ---------------------------------------------------------------------------------------------------------
-- One slice of time of one schedule in one scope. The primary key is promise P1: one row, hence one claim at a time,
-- per window. The fence is of the claim that may change the row; each claim has a new one.
CREATE TABLE evenkeel.background_dispatch_window (
  dispatch_key text PRIMARY KEY,
  schedule text NOT NULL, scope text NOT NULL, tenant_id text,
  window_start timestamptz(3) NOT NULL, window_seconds integer NOT NULL,
  lane evenkeel.lane NOT NULL DEFAULT 'stable', status evenkeel.window_status NOT NULL,
  fence uuid NOT NULL, lease_expires_at timestamptz(3), owner text NOT NULL, correlation_id text NOT NULL,
  claim_count integer NOT NULL DEFAULT 1, duplicate_count integer NOT NULL DEFAULT 0,
  failure_count integer NOT NULL DEFAULT 0, repair_count integer NOT NULL DEFAULT 0, last_error text,
  -- What a repair needs to send the same events again.
  params jsonb,
  enqueued_at timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
-- Serves an operator's list of a schedule's windows.
CREATE INDEX background_dispatch_window_by_schedule
  ON evenkeel.background_dispatch_window (schedule, window_start DESC);
-- Serves the search for claims that expired or failed: a handful of rows among millions.
CREATE INDEX background_dispatch_window_undispatched
  ON evenkeel.background_dispatch_window (lease_expires_at) WHERE status IN ('DISPATCHING', 'ENQUEUE_FAILED');
-- Serves the search for windows that were sent and never started, which are the newest and few; and retention.
CREATE INDEX background_dispatch_window_sent
  ON evenkeel.background_dispatch_window (enqueued_at) WHERE status = 'ENQUEUED';
-- Serves the search for windows that were sent again and again and never started.
CREATE INDEX background_dispatch_window_repaired
  ON evenkeel.background_dispatch_window (window_start) WHERE status = 'ENQUEUED' AND repair_count > 0;
-- Serves retention of the few that were not sent.
CREATE INDEX background_dispatch_window_prunable
  ON evenkeel.background_dispatch_window (status, window_start)
  WHERE status NOT IN ('DISPATCHING', 'ENQUEUED', 'ENQUEUE_FAILED');

-- Runs ------------------------------------------------------------------------------------------------------------
-- Which run holds the right to execute a window for a function. The primary key lets one run have it. Continuations
-- are the runs that continue one another within a window, numbered from 0.
CREATE TABLE evenkeel.background_dispatch_guard (
  function_id text NOT NULL, dispatch_key text NOT NULL,
  continuation integer NOT NULL DEFAULT 0,
  run_id text NOT NULL, taken_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (function_id, dispatch_key, continuation)
);
CREATE INDEX background_dispatch_guard_prunable ON evenkeel.background_dispatch_guard (taken_at);

-- One Inngest run of one function.
CREATE TABLE evenkeel.background_function_run (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  run_id text NOT NULL, function_id text NOT NULL,
  dispatch_key text, continuation integer NOT NULL DEFAULT 0,
  event_name text NOT NULL, event_id text,
  lane evenkeel.lane NOT NULL DEFAULT 'stable',
  tenant_id text, correlation_id text,
  status evenkeel.run_status NOT NULL DEFAULT 'RUNNING',
  fence uuid NOT NULL DEFAULT gen_random_uuid(), owner text NOT NULL,
  duplicate_of text, output jsonb, last_error text,
  heartbeat_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  started_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, finished_at timestamptz(3)
);
-- Inngest's id of a run names a row once per function.
CREATE UNIQUE INDEX background_function_run_identity ON evenkeel.background_function_run (run_id, function_id);
-- Serves the question whether a window has started or was executed.
CREATE INDEX background_function_run_by_window
  ON evenkeel.background_function_run (dispatch_key, function_id) WHERE dispatch_key IS NOT NULL;
-- Serves the search for runs that went silent.
CREATE INDEX background_function_run_running
  ON evenkeel.background_function_run (heartbeat_at) WHERE status = 'RUNNING';
-- Serves an operator's list of runs.
CREATE INDEX background_function_run_recent ON evenkeel.background_function_run (started_at DESC);
-- Serves retention, as does the next one for the runs without an end.
CREATE INDEX background_function_run_prunable
  ON evenkeel.background_function_run (status, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX background_function_run_stale
  ON evenkeel.background_function_run (heartbeat_at) WHERE status = 'STALE';

-- One attempt of a run.
CREATE TABLE evenkeel.background_function_attempt (
  run_row_id uuid NOT NULL REFERENCES evenkeel.background_function_run (id) ON DELETE CASCADE ON UPDATE CASCADE,
  attempt integer NOT NULL, owner text NOT NULL, error text,
  started_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, finished_at timestamptz(3),
  PRIMARY KEY (run_row_id, attempt)
);

-- Jobs ------------------------------------------------------------------------------------------------------------
-- The hot set: jobs that are scheduled, due or running. A settled job moves to the history, so that a claim costs
-- the same however many there were.
CREATE TABLE evenkeel.background_job (
  id bigserial PRIMARY KEY,
  tenant_id text NOT NULL, type text NOT NULL,
  version integer NOT NULL DEFAULT 1, payload jsonb NOT NULL,
  lane evenkeel.lane NOT NULL DEFAULT 'stable',
  state evenkeel.job_state NOT NULL DEFAULT 'PENDING',
  priority smallint NOT NULL DEFAULT 0,
  run_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  attempt integer NOT NULL DEFAULT 0, max_attempts integer NOT NULL,
  unique_key text,
  -- Of the claim that may settle the job; each claim adds one.
  fence bigint NOT NULL DEFAULT 0,
  -- Claimed under a cap of its tenant or type: the cap counts these.
  capped boolean NOT NULL DEFAULT false,
  lease_expires_at timestamptz(3), owner text,
  -- How often in a row its worker's process died while it ran the job.
  crashes integer NOT NULL DEFAULT 0,
  -- How far it is, as its handler last said.
  progress jsonb,
  errors jsonb NOT NULL DEFAULT '[]', correlation_id text,
  -- The dead letter that a redriven job came from, so that its next letter can name it.
  redriven_from uuid,
  created_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
-- A unique key holds while its job is unsettled, within one tenant and type.
CREATE UNIQUE INDEX background_job_unsettled_unique
  ON evenkeel.background_job (tenant_id, type, unique_key) WHERE unique_key IS NOT NULL;
-- Serves the claim: per type it knows and priority, the next tenant after a cursor and that tenant's oldest due jobs.
-- The type comes before the tenant, so that a backlog of types that nobody here knows costs a claim nothing.
CREATE INDEX background_job_due
  ON evenkeel.background_job (lane, type, priority, tenant_id, run_at, id) WHERE state = 'PENDING';
-- Serves the claim: which priorities there are beside the usual one.
CREATE INDEX background_job_prioritized
  ON evenkeel.background_job (lane, type, priority) WHERE state = 'PENDING' AND priority <> 0;
-- Serve the caps: what runs under one. Jobs without a cap are in neither.
CREATE INDEX background_job_capped_tenant ON evenkeel.background_job (tenant_id) WHERE state = 'RUNNING' AND capped;
CREATE INDEX background_job_capped_type ON evenkeel.background_job (type) WHERE state = 'RUNNING' AND capped;
-- Serves the search for leases that expired: jobs whose worker died.
CREATE INDEX background_job_expired ON evenkeel.background_job (lane, lease_expires_at) WHERE state = 'RUNNING';

-- Who holds a unique key that outlasts its job, or ends before it: the job enqueued last under it.
CREATE TABLE evenkeel.background_job_unique_key (
  tenant_id text NOT NULL, type text NOT NULL, unique_key text NOT NULL,
  job_id bigint NOT NULL,
  -- The holder before, which an enqueue saw gone: it takes the key only from that one.
  replaced_job_id bigint NOT NULL,
  enqueued_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (tenant_id, type, unique_key)
);
CREATE INDEX background_job_unique_key_prunable ON evenkeel.background_job_unique_key (enqueued_at);

-- The tenant that the rotation continues after, per lane: one row that a drain moves once, not every claim. A type
-- with a cap has a rotation of its own; the type is '' for all others together.
CREATE TABLE evenkeel.background_job_rotation (
  lane evenkeel.lane NOT NULL, type text NOT NULL DEFAULT '',
  after_tenant text NOT NULL, updated_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (lane, type)
);

-- Jobs that ended.
CREATE TABLE evenkeel.background_job_history (
  id bigint PRIMARY KEY,
  tenant_id text NOT NULL, type text NOT NULL,
  version integer NOT NULL, payload jsonb NOT NULL,
  lane evenkeel.lane NOT NULL, outcome evenkeel.job_outcome NOT NULL,
  priority smallint NOT NULL DEFAULT 0,
  run_at timestamptz(3) NOT NULL,
  attempt integer NOT NULL, unique_key text,
  result jsonb, errors jsonb NOT NULL, correlation_id text,
  created_at timestamptz(3) NOT NULL, finished_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
-- Serves a tenant's list of jobs.
CREATE INDEX background_job_history_by_tenant ON evenkeel.background_job_history (tenant_id, id DESC);
CREATE INDEX background_job_history_prunable ON evenkeel.background_job_history (outcome, finished_at);

-- Limits ----------------------------------------------------------------------------------------------------------
-- What operators decided about the queue as a whole, a type, a tenant, or every tenant; the subject is the type or the
-- tenant's id, and '' for the others. A tenant without a row of its own gets an empty one at its first claim under a
-- limit for every tenant: claims lock it, and change its version.
CREATE TABLE evenkeel.background_job_limit (
  kind evenkeel.job_limit_kind NOT NULL, subject text NOT NULL,
  paused boolean NOT NULL DEFAULT false,
  paused_at timestamptz(3), paused_by text, pause_reason text,
  -- Most jobs running at a time, and most jobs started in any period.
  max_running integer, rate_limit integer, rate_period_ms integer,
  -- Jobs started, by the tenth of a period: {"<number of the tenth since 1970>": jobs}.
  spent jsonb NOT NULL DEFAULT '{}',
  version bigint NOT NULL DEFAULT 0, updated_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (kind, subject)
);

-- Effects ---------------------------------------------------------------------------------------------------------
-- Calls of jobs to the outside world: what was begun, under which key, and how it ended. A record outlives its job's
-- row, which moves to the history, so no foreign key ties them.
CREATE TABLE evenkeel.background_effect (
  job_id bigint NOT NULL, name text NOT NULL, tenant_id text NOT NULL,
  -- What the provider is given: the same at every try.
  idempotency_key uuid NOT NULL DEFAULT gen_random_uuid(),
  state evenkeel.effect_state NOT NULL DEFAULT 'STARTED',
  -- Of the job's claim that began it last.
  fence bigint NOT NULL,
  tries integer NOT NULL DEFAULT 1, result jsonb,
  started_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, finished_at timestamptz(3),
  PRIMARY KEY (job_id, name)
);
CREATE INDEX background_effect_prunable ON evenkeel.background_effect (started_at);

-- Poller ----------------------------------------------------------------------------------------------------------
-- Who polls a lane for new jobs, and until when that is certain: one row per lane. Whoever commits a job and then finds
-- a poller's lease unexpired knows that a claim comes after the commit.
CREATE TABLE evenkeel.background_job_poller (
  lane evenkeel.lane PRIMARY KEY,
  poller_id uuid NOT NULL,
  lease_expires_at timestamptz(3) NOT NULL
);

-- Dead letters ----------------------------------------------------------------------------------------------------
-- Work that will not be tried again by itself, kept with its reason until an operator decides. The previous letter is
-- of work that was redriven and failed again.
CREATE TABLE evenkeel.background_dead_letter (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  kind evenkeel.dead_letter_kind NOT NULL, source_id text NOT NULL, tenant_id text,
  name text NOT NULL, reason text NOT NULL, error text NOT NULL,
  payload jsonb, history jsonb NOT NULL DEFAULT '[]',
  status evenkeel.dead_letter_status NOT NULL DEFAULT 'OPEN',
  previous_id uuid,
  created_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  resolved_at timestamptz(3), resolved_by text
);
-- One open letter per failed thing, however often its failure is reported; what is redriven may fail again.
CREATE UNIQUE INDEX background_dead_letter_open_source
  ON evenkeel.background_dead_letter (kind, source_id) WHERE status = 'OPEN';
-- Serves the search for earlier letters of one thing.
CREATE INDEX background_dead_letter_by_source
  ON evenkeel.background_dead_letter (kind, source_id, created_at DESC);
-- Serves an operator's list of what is open.
CREATE INDEX background_dead_letter_open ON evenkeel.background_dead_letter (created_at DESC) WHERE status = 'OPEN';
CREATE INDEX background_dead_letter_prunable
  ON evenkeel.background_dead_letter (status, resolved_at) WHERE resolved_at IS NOT NULL;

-- Outbox ----------------------------------------------------------------------------------------------------------
-- Events that a product's own transaction asked for: written with it, sent after it.
CREATE TABLE evenkeel.background_outbox_event (
  id bigserial PRIMARY KEY,
  event_id text NOT NULL, tenant_id text,
  name text NOT NULL, data jsonb NOT NULL,
  status evenkeel.outbox_status NOT NULL DEFAULT 'PENDING', last_error text,
  occurred_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, settled_at timestamptz(3)
);
-- One event per id, however often it is added.
CREATE UNIQUE INDEX background_outbox_event_identity ON evenkeel.background_outbox_event (event_id);
-- Serves the relay: what is to be sent, in the order in which it was added.
CREATE INDEX background_outbox_event_pending ON evenkeel.background_outbox_event (id) WHERE status = 'PENDING';
-- Serves retention.
CREATE INDEX background_outbox_event_settled
  ON evenkeel.background_outbox_event (settled_at) WHERE settled_at IS NOT NULL;

-- Who relays, and from when on: one row that all hosts share, so that one of them sends at a time, in order, and all of
-- them wait while Inngest is unavailable.
CREATE TABLE evenkeel.background_outbox_relay (
  name text PRIMARY KEY,
  fence uuid NOT NULL, owner text NOT NULL, lease_expires_at timestamptz(3) NOT NULL,
  not_before timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  failure_count integer NOT NULL DEFAULT 0, last_error text
);

-- Audit -----------------------------------------------------------------------------------------------------------
-- What operators did, with what was before and what came after: written in the statement that does it.
CREATE TABLE evenkeel.background_audit_entry (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  actor text NOT NULL, action text NOT NULL,
  subject_kind text NOT NULL, subject_id text NOT NULL, tenant_id text,
  before jsonb, after jsonb, reason text
);
-- Serve an operator's list of decisions, and the decisions about one thing.
CREATE INDEX background_audit_entry_recent ON evenkeel.background_audit_entry (at DESC);
CREATE INDEX background_audit_entry_by_subject ON evenkeel.background_audit_entry (subject_kind, subject_id);

-- Tenant isolation ------------------------------------------------------------------------------------------------
-- Row-level security, beside the tenant that each statement asks for. A session that works for one tenant takes the
-- role evenkeel_tenant and names the tenant in evenkeel.tenant_id, both for its transaction alone; it then sees and
-- writes that tenant's rows and no others, whatever its statement asks for. Every other session is as it was: the
-- policy for everyone is plain true, which costs a plan nothing.
--
-- A role belongs to the cluster. Where the migrating user may not create it, nothing is switched on, and an
-- administrator can do so later: CREATE ROLE evenkeel_tenant NOLOGIN; GRANT evenkeel_tenant TO <user>;
-- SELECT evenkeel.enable_tenant_isolation();
CREATE FUNCTION evenkeel.enable_tenant_isolation() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  name text;
BEGIN
  GRANT USAGE ON SCHEMA evenkeel TO evenkeel_tenant;
  FOREACH name IN ARRAY ARRAY[
    'background_job', 'background_job_history', 'background_dead_letter', 'background_function_run',
    'background_dispatch_window', 'background_outbox_event', 'background_audit_entry',
    'background_job_unique_key', 'background_effect'
  ] LOOP
    EXECUTE format('ALTER TABLE evenkeel.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON evenkeel.%I TO evenkeel_tenant', name);
    EXECUTE format('DROP POLICY IF EXISTS everyone ON evenkeel.%I', name);
    EXECUTE format('CREATE POLICY everyone ON evenkeel.%I USING (true) WITH CHECK (true)', name);
    EXECUTE format('DROP POLICY IF EXISTS one_tenant ON evenkeel.%I', name);
    EXECUTE format(
      'CREATE POLICY one_tenant ON evenkeel.%I AS RESTRICTIVE TO evenkeel_tenant '
      'USING (tenant_id = current_setting(''evenkeel.tenant_id'', true)) '
      'WITH CHECK (tenant_id = current_setting(''evenkeel.tenant_id'', true))', name);
  END LOOP;
  -- What is decided about one tenant is for that tenant to see; what is decided about all or a type, for all.
  ALTER TABLE evenkeel.background_job_limit ENABLE ROW LEVEL SECURITY;
  GRANT SELECT ON evenkeel.background_job_limit TO evenkeel_tenant;
  DROP POLICY IF EXISTS everyone ON evenkeel.background_job_limit;
  CREATE POLICY everyone ON evenkeel.background_job_limit USING (true) WITH CHECK (true);
  DROP POLICY IF EXISTS one_tenant ON evenkeel.background_job_limit;
  CREATE POLICY one_tenant ON evenkeel.background_job_limit AS RESTRICTIVE TO evenkeel_tenant
    USING (kind <> 'TENANT' OR subject = current_setting('evenkeel.tenant_id', true));
  -- An attempt is whose its run is.
  ALTER TABLE evenkeel.background_function_attempt ENABLE ROW LEVEL SECURITY;
  GRANT SELECT ON evenkeel.background_function_attempt TO evenkeel_tenant;
  DROP POLICY IF EXISTS everyone ON evenkeel.background_function_attempt;
  CREATE POLICY everyone ON evenkeel.background_function_attempt USING (true) WITH CHECK (true);
  DROP POLICY IF EXISTS one_tenant ON evenkeel.background_function_attempt;
  CREATE POLICY one_tenant ON evenkeel.background_function_attempt AS RESTRICTIVE TO evenkeel_tenant
    USING (EXISTS (
      SELECT FROM evenkeel.background_function_run AS run
      WHERE run.id = run_row_id AND run.tenant_id = current_setting('evenkeel.tenant_id', true)
    ));
END
$$;

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'evenkeel_tenant') THEN
    CREATE ROLE evenkeel_tenant NOLOGIN;
  END IF;
  GRANT evenkeel_tenant TO CURRENT_USER;
  PERFORM evenkeel.enable_tenant_isolation();
EXCEPTION
  -- Two databases of one cluster may be migrated at once; the second one finds the role.
  WHEN duplicate_object OR unique_violation THEN
    PERFORM evenkeel.enable_tenant_isolation();
  WHEN insufficient_privilege THEN
    RAISE WARNING 'evenkeel: row-level security is off, because this user may not create roles';
END
$$;

-- Storage settings ------------------------------------------------------------------------------------------------
-- The queue's rows live for moments: dead ones are cleared away long before a fifth of the table is dead, and without
-- the pauses that spare a disk.
ALTER TABLE evenkeel.background_job SET (
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05
);
-- Only ever inserted and pruned.
ALTER TABLE evenkeel.background_job_history
  SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);
-- A handful of rows that every drain, claim or poll updates: half of each page is left for the new versions.
ALTER TABLE evenkeel.background_job_rotation
  SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
ALTER TABLE evenkeel.background_job_poller
  SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
ALTER TABLE evenkeel.background_job_limit
  SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200);
-- Updated by duplicate ticks and heartbeats, and kept for a month or more.
ALTER TABLE evenkeel.background_dispatch_window
  SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE evenkeel.background_function_run
  SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
-- Each event is updated once, when it was sent or refused.
ALTER TABLE evenkeel.background_outbox_event
  SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200);
