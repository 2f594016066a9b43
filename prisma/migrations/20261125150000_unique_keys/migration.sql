-- Breaking: stop hosts of earlier versions first. They would find no index for the keys of the jobs that they enqueue.
--
-- Every unique key stands in background_job_unique_key, whatever is asked of it: one row says which job holds it. Keys
-- that were held while their jobs were unsettled stood in an index of the queue. A column of the queue, and of the
-- history, still says under which key a job was enqueued.

DROP POLICY IF EXISTS one_tenant ON evenkeel.background_job_unique_key;
DROP INDEX evenkeel.background_job_unsettled_unique;
DROP INDEX evenkeel.background_job_unique_key_prunable;
ALTER TABLE evenkeel.background_job_unique_key
  -- Compared byte by byte, as the queue's.
  ALTER COLUMN tenant_id TYPE text COLLATE "C",
  ALTER COLUMN type TYPE text COLLATE "C",
  ALTER COLUMN unique_key TYPE text COLLATE "C",
  -- 0: none was before.
  ALTER COLUMN replaced_job_id SET DEFAULT 0,
  -- Until when the row is of use, whatever becomes of its job: the job's due time, or the end of its period.
  ADD COLUMN kept_until timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  -- How the holder ended, once the history no longer says so.
  ADD COLUMN outcome evenkeel.job_outcome;

-- Periods were not on record; none is longer than a leap year.
UPDATE evenkeel.background_job_unique_key SET kept_until = enqueued_at + interval '366 days';
UPDATE evenkeel.background_job AS job SET unique_key = held.unique_key
FROM evenkeel.background_job_unique_key AS held
WHERE job.id = held.job_id AND job.tenant_id = held.tenant_id AND job.type = held.type AND job.unique_key IS NULL;
UPDATE evenkeel.background_job_history AS history SET unique_key = held.unique_key
FROM evenkeel.background_job_unique_key AS held
WHERE history.id = held.job_id AND history.tenant_id = held.tenant_id AND history.type = held.type
  AND history.unique_key IS NULL;

-- Of two jobs under one key, which could be while keys stood in two places, one that waits holds it, else the newest.
INSERT INTO evenkeel.background_job_unique_key AS held
  (tenant_id, type, unique_key, job_id, enqueued_at, kept_until)
SELECT DISTINCT ON (tenant_id, type, unique_key) tenant_id, type, unique_key, id, created_at, GREATEST(run_at, created_at)
FROM evenkeel.background_job
WHERE unique_key IS NOT NULL
ORDER BY tenant_id, type, unique_key, state = 'RUNNING', id DESC
ON CONFLICT (tenant_id, type, unique_key) DO UPDATE SET job_id = EXCLUDED.job_id, enqueued_at = EXCLUDED.enqueued_at
WHERE held.job_id <> EXCLUDED.job_id;

CREATE INDEX background_job_unique_key_prunable ON evenkeel.background_job_unique_key (kept_until);
-- A row is rewritten in its place when another job takes the key.
ALTER TABLE evenkeel.background_job_unique_key
  SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);

DO $$ BEGIN
  IF (SELECT relrowsecurity FROM pg_class WHERE oid = 'evenkeel.background_job_unique_key'::regclass) THEN
    PERFORM evenkeel.enable_tenant_isolation();
  END IF;
END $$;
