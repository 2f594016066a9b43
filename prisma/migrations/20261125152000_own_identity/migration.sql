-- Breaking: stop hosts of earlier versions first. Their statements name a record of an effect, and an open dead letter, by
-- the id of its job alone. It comes in one release with available_jobs, which asks for the same.
--
-- Jobs by an identity of their own. A sequence can go back, with a logical cut-over or a restore of a part: then an id
-- names two jobs, one after the other. What refers to a job refers to its id and to the moment of its creation.

-- Fences ----------------------------------------------------------------------------------------------------------
-- A job's fences begin at the milliseconds of its creation, and three digits that count its claims: whoever held an
-- earlier job of its id shows none of them.
ALTER TABLE evenkeel.background_job
  ALTER COLUMN fence SET DEFAULT (date_part('epoch', CURRENT_TIMESTAMP) * 1000)::bigint * 1000;

-- Effects ---------------------------------------------------------------------------------------------------------
-- Whose job this is: the one that waits or runs under its id, else the last one that ended under it.
ALTER TABLE evenkeel.background_effect ADD COLUMN job_created_at timestamptz(3);
UPDATE evenkeel.background_effect AS effect SET job_created_at = COALESCE(
  (SELECT job.created_at FROM evenkeel.background_job AS job
    WHERE job.id = effect.job_id AND job.tenant_id = effect.tenant_id COLLATE "C"),
  (SELECT max(history.created_at) FROM evenkeel.background_job_history AS history
    WHERE history.id = effect.job_id AND history.tenant_id = effect.tenant_id),
  effect.started_at
);
ALTER TABLE evenkeel.background_effect ALTER COLUMN job_created_at SET NOT NULL;
ALTER TABLE evenkeel.background_effect DROP CONSTRAINT background_effect_pkey;
ALTER TABLE evenkeel.background_effect ADD PRIMARY KEY (job_id, name, job_created_at, tenant_id);

-- Dead letters ----------------------------------------------------------------------------------------------------
-- When the job of a letter was created; the epoch for a letter of anything else.
ALTER TABLE evenkeel.background_dead_letter
  ADD COLUMN source_created_at timestamptz(3) NOT NULL DEFAULT 'epoch';
UPDATE evenkeel.background_dead_letter AS letter SET source_created_at = history.created_at
FROM evenkeel.background_job_history AS history
WHERE letter.kind = 'JOB' AND history.outcome = 'DEAD' AND history.finished_at = letter.created_at
  AND history.id = CASE WHEN letter.source_id ~ '^\d{1,18}$' THEN letter.source_id::bigint END;
DROP INDEX evenkeel.background_dead_letter_open_source;
-- What failed has one open letter.
CREATE UNIQUE INDEX background_dead_letter_open_source
  ON evenkeel.background_dead_letter (kind, source_id, source_created_at) WHERE status = 'OPEN';

-- Lists -----------------------------------------------------------------------------------------------------------
-- Serves the step that makes scheduled jobs available, and lists of them by type.
DROP INDEX evenkeel.background_job_scheduled;
CREATE INDEX background_job_scheduled ON evenkeel.background_job (type, run_at, id) WHERE state = 'SCHEDULED';
-- Serves a tenant's list of scheduled jobs. Jobs that are due at once are in neither.
CREATE INDEX background_job_scheduled_tenant
  ON evenkeel.background_job (tenant_id, type, run_at, id) WHERE state = 'SCHEDULED';
-- Serves a tenant's list of jobs that ended, by type and outcome or not.
DROP INDEX evenkeel.background_job_history_by_tenant;
CREATE INDEX background_job_history_by_tenant
  ON evenkeel.background_job_history (tenant_id, type, outcome, finished_at, id);
-- Serves lists of what did not succeed, by type. What did is nearly all: in this index it would cost each settlement.
CREATE INDEX background_job_history_by_type
  ON evenkeel.background_job_history (type, outcome, finished_at, id) WHERE outcome <> 'SUCCEEDED';
-- Serve lists of dead letters, by status alone or with a tenant, a name or a reason. Only what fails is in them.
DROP INDEX evenkeel.background_dead_letter_open;
CREATE INDEX background_dead_letter_by_status ON evenkeel.background_dead_letter (status, created_at, id);
CREATE INDEX background_dead_letter_by_tenant ON evenkeel.background_dead_letter (tenant_id, status, created_at, id);
CREATE INDEX background_dead_letter_by_name ON evenkeel.background_dead_letter (name, status, created_at, id);
CREATE INDEX background_dead_letter_by_reason ON evenkeel.background_dead_letter (reason, status, created_at, id);
-- Serve lists of runs, by status alone or with a tenant or a function.
DROP INDEX evenkeel.background_function_run_recent;
CREATE INDEX background_function_run_by_status ON evenkeel.background_function_run (status, started_at, id);
CREATE INDEX background_function_run_by_tenant
  ON evenkeel.background_function_run (tenant_id, status, started_at, id) WHERE tenant_id IS NOT NULL;
CREATE INDEX background_function_run_by_function
  ON evenkeel.background_function_run (function_id, status, started_at, id);
-- Serve lists of what operators did, by subject, actor or action.
DROP INDEX evenkeel.background_audit_entry_recent;
CREATE INDEX background_audit_entry_recent ON evenkeel.background_audit_entry (at, id);
DROP INDEX evenkeel.background_audit_entry_by_subject;
CREATE INDEX background_audit_entry_by_subject ON evenkeel.background_audit_entry (subject_id, at, id);
CREATE INDEX background_audit_entry_by_actor ON evenkeel.background_audit_entry (actor, at, id);
CREATE INDEX background_audit_entry_by_action ON evenkeel.background_audit_entry (action, at, id);
