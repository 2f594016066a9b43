-- Breaking: stop hosts of earlier versions first. It rewrites the queue, and they would not find work in it any more.
--
-- What may be claimed now stands apart from what is due later: only available jobs (PENDING) are in the claim's index.
-- A tenant has a bucket, 0 to 9,999; a lane is a range of buckets, so no waiting job carries a lane.
-- An attempt counts from the start of its handler: a job that is RUNNING without started_at is only held.

-- A tenant's bucket: the first 32 bits of the SHA-256 of its id, modulo 10,000. `bucketOf` in @evenkeel/core is the same.
CREATE FUNCTION evenkeel.bucket_of(tenant_id text) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
  SELECT (('x' || left(encode(sha256(convert_to(tenant_id, 'UTF8')), 'hex'), 8))::bit(32)::bigint % 10000)::smallint
$$;

-- A column that a policy names cannot change. The policies come back below, as they were.
DROP POLICY IF EXISTS one_tenant ON evenkeel.background_job;
DROP POLICY IF EXISTS one_tenant ON evenkeel.background_job_limit;
DROP INDEX evenkeel.background_job_due;
DROP INDEX evenkeel.background_job_prioritized;
DROP INDEX evenkeel.background_job_expired;

-- A value added to an enum could not be used before the end of this transaction; those of a new one can.
ALTER TYPE evenkeel.job_state RENAME TO job_state_before;
CREATE TYPE evenkeel.job_state AS ENUM ('SCHEDULED', 'PENDING', 'RUNNING');
DROP INDEX evenkeel.background_job_capped_tenant;
DROP INDEX evenkeel.background_job_capped_type;
ALTER TABLE evenkeel.background_job
  ALTER COLUMN state DROP DEFAULT,
  ALTER COLUMN state TYPE evenkeel.job_state USING state::text::evenkeel.job_state,
  ALTER COLUMN state SET DEFAULT 'PENDING',
  -- Compared byte by byte, whatever the database's collation: an index over them is smaller work, and never outdated.
  ALTER COLUMN tenant_id TYPE text COLLATE "C",
  ALTER COLUMN type TYPE text COLLATE "C",
  ALTER COLUMN unique_key TYPE text COLLATE "C",
  -- Of the claim that runs it; NULL while it waits.
  ALTER COLUMN lane DROP NOT NULL,
  ALTER COLUMN lane DROP DEFAULT,
  ADD COLUMN bucket smallint NOT NULL DEFAULT 0,
  -- When its turn among its tenant's jobs came: run_at, and ten minutes earlier per level of priority.
  ADD COLUMN turn_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  -- When its handler started; NULL while it waits, and while a claim only holds it.
  ADD COLUMN started_at timestamptz(3);
DROP TYPE evenkeel.job_state_before;
UPDATE evenkeel.background_job
SET bucket = evenkeel.bucket_of(tenant_id),
  turn_at = run_at - priority * interval '10 minutes',
  state = CASE WHEN state = 'PENDING' AND run_at > now() THEN 'SCHEDULED' ELSE state END,
  lane = CASE WHEN state = 'RUNNING' THEN lane END,
  -- Claims counted the attempt.
  started_at = CASE WHEN state = 'RUNNING' THEN now() END;
ALTER TABLE evenkeel.background_job
  -- Whatever runs has an end in sight, and nothing else has started.
  ADD CONSTRAINT background_job_running CHECK (CASE WHEN state = 'RUNNING'
    THEN lease_expires_at IS NOT NULL ELSE started_at IS NULL END),
  ADD CONSTRAINT background_job_bucket CHECK (bucket BETWEEN 0 AND 9999),
  ADD CONSTRAINT background_job_counts CHECK (attempt >= 0 AND max_attempts >= 1 AND crashes >= 0);

-- Serves the claim: from tenant to tenant with available work, and each tenant's jobs in their turn.
CREATE INDEX background_job_available
  ON evenkeel.background_job (bucket, tenant_id, turn_at, id, type) WHERE state = 'PENDING';
-- Serves the step that makes scheduled jobs available.
CREATE INDEX background_job_scheduled ON evenkeel.background_job (type, run_at) WHERE state = 'SCHEDULED';
-- Serve the caps: what runs under one. Jobs without a cap are in neither.
CREATE INDEX background_job_capped_tenant ON evenkeel.background_job (tenant_id) WHERE state = 'RUNNING' AND capped;
CREATE INDEX background_job_capped_type ON evenkeel.background_job (type) WHERE state = 'RUNNING' AND capped;
-- Serves the sweep of leases that expired: jobs whose worker died.
CREATE INDEX background_job_expired ON evenkeel.background_job (lease_expires_at) WHERE state = 'RUNNING';

-- What is looked up by a job's tenant or type is compared as these are.
ALTER TABLE evenkeel.background_job_limit ALTER COLUMN subject TYPE text COLLATE "C";
ALTER TABLE evenkeel.background_job_rotation ADD COLUMN after_bucket smallint NOT NULL DEFAULT 0;

-- The lane of the claim that ran it; NULL where none did.
ALTER TABLE evenkeel.background_job_history ALTER COLUMN lane DROP NOT NULL;
-- Ids go back with a restore, and a job must be able to end all the same.
ALTER TABLE evenkeel.background_job_history DROP CONSTRAINT background_job_history_pkey;
ALTER TABLE evenkeel.background_job_history ADD PRIMARY KEY (id, created_at);

-- Which types and versions drains have handlers for, and when one last said so.
CREATE TABLE evenkeel.background_job_handler (
  type text COLLATE "C" NOT NULL, version integer NOT NULL,
  owner text NOT NULL, seen_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (type, version)
);

DO $$ BEGIN
  IF (SELECT relrowsecurity FROM pg_class WHERE oid = 'evenkeel.background_job'::regclass) THEN
    PERFORM evenkeel.enable_tenant_isolation();
  END IF;
END $$;
