-- What an operator's limits leave room for, in one place; and room on the queue's pages.

-- What may start now under the limits of a tenant or a type; no row where nothing is decided about it. A limit of the
-- tenant's own goes before that of every tenant. Claims lock the row of the subject in background_job_limit: `version` is
-- what it was at this count, and NULL where there is none yet.
--
-- `running` counts jobs under the cap, `spent` the starts that count towards the rate, and `room` is how many jobs more
-- may start: NULL for any number, 0 or less for none, and 0 while it is paused.
--
-- A start counts for the tenth of the rate's period that it fell in and for ten more, so that no period, whenever it
-- begins, sees more than the rate. One that lies far ahead was noted before the clock was set back: it does not count.
--
-- The bodies are texts, which are read with the caller's search path: a clock can stand in for Postgres' own.
CREATE FUNCTION evenkeel.tenth_of(period_ms integer) RETURNS bigint LANGUAGE sql VOLATILE AS $$
  -- clock_timestamp(), as a start counts for the moment of its decision.
  SELECT floor(extract(epoch FROM clock_timestamp()) * 10000 / period_ms)::bigint
$$;

CREATE FUNCTION evenkeel.room_of(limit_kind evenkeel.job_limit_kind, limit_subject text)
RETURNS TABLE (
  version integer, paused boolean, max_running integer, rate_limit integer, rate_period_ms integer,
  running integer, spent integer, room integer
) LANGUAGE sql STABLE ROWS 1 AS $$
  SELECT own.version, own.paused IS TRUE, rule.max_running, rule.rate_limit, rule.rate_period_ms, used.running,
    used.spent, CASE WHEN own.paused THEN 0
      ELSE LEAST(rule.max_running - used.running, rule.rate_limit - used.spent) END
  FROM (VALUES (1)) AS one
  LEFT JOIN evenkeel.background_job_limit AS own ON own.kind = limit_kind AND own.subject = limit_subject
  LEFT JOIN evenkeel.background_job_limit AS every ON every.kind = 'EVERY_TENANT' AND limit_kind = 'TENANT'
  CROSS JOIN LATERAL (
    SELECT COALESCE(own.max_running, every.max_running) AS max_running,
      COALESCE(own.rate_limit, every.rate_limit) AS rate_limit,
      COALESCE(own.rate_period_ms, every.rate_period_ms) AS rate_period_ms
  ) AS rule
  CROSS JOIN LATERAL (
    SELECT CASE
        WHEN rule.max_running IS NULL THEN NULL
        -- Counted no further than the cap: there may be many more, from before it was lowered.
        WHEN limit_kind = 'TYPE' THEN (SELECT count(*)::int FROM (
          SELECT FROM evenkeel.background_job AS held
          WHERE held.state = 'RUNNING' AND held.capped AND held.type = limit_subject LIMIT rule.max_running
        ) AS counted)
        ELSE (SELECT count(*)::int FROM (
          SELECT FROM evenkeel.background_job AS held
          WHERE held.state = 'RUNNING' AND held.capped AND held.tenant_id = limit_subject LIMIT rule.max_running
        ) AS counted)
      END AS running,
      CASE WHEN rule.rate_limit IS NOT NULL THEN (
        SELECT COALESCE(sum(tenth.value::int), 0)::int FROM jsonb_each_text(own.spent) AS tenth
        WHERE tenth.key::bigint BETWEEN evenkeel.tenth_of(rule.rate_period_ms) - 10
          AND evenkeel.tenth_of(rule.rate_period_ms) + 100
      ) END AS spent
  ) AS used
  WHERE COALESCE(own.kind, every.kind) IS NOT NULL
$$;

-- The starts of each tenth of a rate's period, with some more now and without those that no longer count. Without a rate
-- (NULL) none are kept.
CREATE FUNCTION evenkeel.note_starts(spent jsonb, period_ms integer, starts bigint) RETURNS jsonb
LANGUAGE sql VOLATILE AS $$
  SELECT COALESCE(jsonb_object_agg(noted.tenth, noted.starts), '{}')
  FROM (
    SELECT entry.tenth, sum(entry.starts)::int AS starts
    FROM evenkeel.tenth_of(period_ms) AS now (tenth), LATERAL (
      SELECT key::bigint AS tenth, value::int AS starts FROM jsonb_each_text(spent)
      UNION ALL SELECT now.tenth, starts
    ) AS entry
    WHERE entry.tenth BETWEEN now.tenth - 10 AND now.tenth + 100
    GROUP BY entry.tenth
  ) AS noted
$$;

-- Two fifths of a page stay free for the updates of its rows. So the start of a handler changes a row in its page and no
-- index: it takes half of what it took.
ALTER TABLE evenkeel.background_job SET (fillfactor = 60);
