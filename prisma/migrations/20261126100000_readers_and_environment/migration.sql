-- Which builds can use this schema, and which environment's ledger this is.

-- Readers ---------------------------------------------------------------------------------------------------------
-- A build that lacks newer migrations works beside them, unless it does not know the min_reader of one of these marks.
-- A migration that builds of earlier releases cannot work beside inserts its mark, as it is applied: min_reader is its
-- own name, or that of the earlier migration whose builds were already written for both.
CREATE TABLE evenkeel.background_schema_mark (
  migration text COLLATE "C" PRIMARY KEY,
  min_reader text COLLATE "C" NOT NULL,
  marked_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

INSERT INTO evenkeel.background_schema_mark (migration, min_reader) VALUES
  ('20261125130000_available_jobs', '20261125130000_available_jobs'),
  ('20261125150000_unique_keys', '20261125150000_unique_keys'),
  ('20261125152000_own_identity', '20261125152000_own_identity');

-- Environment -----------------------------------------------------------------------------------------------------
-- Dispatch keys carry no environment: two that share a ledger would suppress each other's windows. The first host that
-- uses the ledger marks it; hosts of another environment are refused. One row, or none as long as no host has come.
CREATE TABLE evenkeel.background_environment (
  id boolean PRIMARY KEY DEFAULT true CHECK (id),
  environment text NOT NULL,
  marked_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

-- Gives the ledger to another environment, and returns the one that it was of; NULL: none. For a copy of a database that
-- is to serve another environment, and for a mark that was wrong. It has the rights of its caller, and is audited.
CREATE FUNCTION evenkeel.change_environment(new_environment text, actor text, reason text DEFAULT NULL) RETURNS text
LANGUAGE sql AS $$
  WITH earlier AS (
    SELECT mark.environment FROM evenkeel.background_environment AS mark FOR UPDATE
  ), changed AS (
    -- From it, so that the row is locked and read before it changes.
    INSERT INTO evenkeel.background_environment (environment)
    SELECT $1 FROM (SELECT count(*) FROM earlier) AS locked
    ON CONFLICT (id) DO UPDATE SET environment = excluded.environment, marked_at = excluded.marked_at
    RETURNING environment
  ), audit AS (
    INSERT INTO evenkeel.background_audit_entry (actor, action, subject_kind, subject_id, before, after, reason)
    SELECT $2, 'environment.change', 'ledger', 'evenkeel',
      jsonb_build_object('environment', (SELECT environment FROM earlier)),
      jsonb_build_object('environment', changed.environment), $3
    FROM changed
  )
  SELECT environment FROM earlier
$$;
-- Where the owner's default privileges keep functions from PUBLIC, only the owner could call it.
GRANT EXECUTE ON FUNCTION evenkeel.change_environment(text, text, text) TO PUBLIC;
