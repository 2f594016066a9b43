-- A tick that finds nothing to do sends nothing and claims no window. What a window sends is on record with it, and how
-- far it was fanned out.

-- The names of the events that a window's ticks sent, or were to send. What earlier versions dispatch sends both, and a
-- constant default rewrites no row.
ALTER TABLE evenkeel.background_dispatch_window
  ADD COLUMN events jsonb NOT NULL
    DEFAULT '["background/process.requested", "background/maintenance.requested"]',
  -- How far it was fanned out to tenants; NULL where it is not.
  ADD COLUMN fan_out jsonb;

-- Which windows of a schedule had their tick and found nothing to do: one row per schedule, however long it is idle.
CREATE TABLE evenkeel.background_schedule_idle (
  schedule text COLLATE "C" PRIMARY KEY,
  -- The times of these windows, of the last two days. Neighbours are one range, also across windows between them that
  -- are on record.
  fired tstzmultirange NOT NULL,
  -- How many windows there were in all, and the starts of the first and the last of them.
  idle_count bigint NOT NULL DEFAULT 1,
  first_window timestamptz(3) NOT NULL,
  last_window timestamptz(3) NOT NULL,
  updated_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
-- A handful of rows that every idle window updates: half of each page is left for the new versions.
ALTER TABLE evenkeel.background_schedule_idle
  SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Whether a tick has anything to do, and the record of one that has not. It is asked once a minute of an idle product: as
-- a function, so that a connection plans its parts once, and a tick that has work is answered by the first of them. Each
-- part is a probe of an index that holds what is open, also in a plan that was made while the tables were small. What an
-- open transaction has not committed, the next tick sees.
--
-- Work are due jobs of any type, whoever serves it, also those that a drain would still wait for, and leases that
-- expired. What waits for repair are windows whose host died, whose send failed or whose run never started, silent runs,
-- and events of the outbox that nobody relays; a window of a paused schedule waits for its operator. Upkeep is due at
-- once when something waits for repair, else 5 minutes after the last when work was sent since, or 30.
CREATE FUNCTION evenkeel.look_at_tick(
  asked_key text, asked_schedule text, asked_scope text, starts_at timestamptz, seconds integer,
  may_be_idle boolean, skip_on_overlap boolean, never_started_ms double precision, stale_ms double precision,
  OUT has_work boolean, OUT is_maintenance_due boolean, OUT is_idle boolean
) LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  soon timestamptz := now() + interval '2 seconds';
  last_day timestamptz := now() - interval '24 hours';
  unstarted_since timestamptz := now() - never_started_ms * interval '1 millisecond';
  maintained_at timestamptz;
  known_type text COLLATE "C" := '';
  due_at timestamptz;
  times tstzrange;
BEGIN
  is_idle := false;
  has_work := EXISTS (SELECT FROM evenkeel.background_job AS job WHERE job.state = 'PENDING'
      ORDER BY job.bucket, job.tenant_id, job.turn_at, job.id LIMIT 1)
    OR EXISTS (SELECT FROM evenkeel.background_job AS job
      WHERE job.state = 'RUNNING' AND job.lease_expires_at <= soon);
  -- From type to type, the first of each.
  WHILE NOT has_work LOOP
    SELECT job.type, job.run_at INTO known_type, due_at FROM evenkeel.background_job AS job
    WHERE job.state = 'SCHEDULED' AND job.type > known_type ORDER BY job.type, job.run_at LIMIT 1;
    EXIT WHEN NOT FOUND;
    has_work := due_at <= soon;
  END LOOP;

  SELECT dispatch_window.enqueued_at INTO maintained_at FROM evenkeel.background_dispatch_window AS dispatch_window
  WHERE dispatch_window.status = 'ENQUEUED' AND dispatch_window.enqueued_at > now() - interval '30 minutes'
    AND dispatch_window.window_seconds > 1 AND dispatch_window.events ? 'background/maintenance.requested'
  ORDER BY dispatch_window.enqueued_at DESC LIMIT 1;
  is_maintenance_due := maintained_at IS NULL OR (maintained_at <= now() - interval '5 minutes' AND (has_work OR EXISTS (
      SELECT FROM evenkeel.background_dispatch_window AS dispatch_window
      WHERE dispatch_window.status = 'ENQUEUED' AND dispatch_window.enqueued_at > maintained_at
        AND dispatch_window.events ? 'background/process.requested'
    )));
  is_maintenance_due := is_maintenance_due OR EXISTS (
      SELECT FROM evenkeel.background_dispatch_window AS dispatch_window
      WHERE dispatch_window.status IN ('DISPATCHING', 'ENQUEUE_FAILED')
        AND (dispatch_window.status = 'ENQUEUE_FAILED' OR dispatch_window.lease_expires_at <= now())
        AND (dispatch_window.next_repair_at IS NULL OR dispatch_window.next_repair_at <= now())
        AND (dispatch_window.created_at > last_day OR EXISTS (
          SELECT FROM evenkeel.background_dead_letter AS letter
          WHERE letter.kind = 'DISPATCH' AND letter.source_id = dispatch_window.dispatch_key
            AND letter.status = 'REQUEUED' AND letter.resolved_at > last_day
        ))
        AND NOT EXISTS (
          SELECT FROM evenkeel.background_schedule AS other WHERE other.id = dispatch_window.schedule AND other.paused
        )
    ) OR EXISTS (
      -- What was sent before is found by the next upkeep of the cadence.
      SELECT FROM evenkeel.background_dispatch_window AS dispatch_window
      WHERE dispatch_window.status = 'ENQUEUED' AND dispatch_window.events ? 'background/process.requested'
        AND dispatch_window.enqueued_at > unstarted_since - interval '10 minutes'
        AND dispatch_window.enqueued_at < unstarted_since
        AND (dispatch_window.next_repair_at IS NULL OR dispatch_window.next_repair_at <= now())
        AND NOT EXISTS (
          SELECT FROM evenkeel.background_function_run AS run
          WHERE run.dispatch_key = dispatch_window.dispatch_key
            AND run.event_name = 'background/process.requested' AND run.status <> 'STALE'
        )
    ) OR EXISTS (
      SELECT FROM evenkeel.background_function_run AS run
      WHERE run.status = 'RUNNING' AND run.heartbeat_at < now() - stale_ms * interval '1 millisecond'
    ) OR (
      EXISTS (SELECT FROM evenkeel.background_outbox_event AS event WHERE event.status = 'PENDING'
        ORDER BY event.id LIMIT 1)
      AND NOT EXISTS (SELECT FROM evenkeel.background_outbox_relay AS relay
        WHERE relay.lease_expires_at > now() OR relay.not_before > now())
    );

  IF has_work OR is_maintenance_due OR NOT may_be_idle THEN
    RETURN;
  END IF;
  -- Its claim says what becomes of a window that is on record, paused, or left out by an earlier run.
  IF EXISTS (SELECT FROM evenkeel.background_schedule AS schedule WHERE schedule.id = asked_schedule AND schedule.paused)
    OR EXISTS (SELECT FROM evenkeel.background_dispatch_window AS dispatch_window
      WHERE dispatch_window.dispatch_key = asked_key)
    OR skip_on_overlap AND EXISTS (
      SELECT FROM evenkeel.background_function_run AS run
      JOIN evenkeel.background_dispatch_window AS earlier ON earlier.dispatch_key = run.dispatch_key
      WHERE run.status = 'RUNNING' AND run.event_name <> 'background/maintenance.requested'
        AND earlier.schedule = asked_schedule AND earlier.scope = asked_scope AND earlier.window_start < starts_at
    )
  THEN
    RETURN;
  END IF;
  is_idle := true;
  times := tstzrange(starts_at, starts_at + seconds * interval '1 second');
  -- A tick that repeats an idle window writes nothing, and waits for nobody.
  IF EXISTS (SELECT FROM evenkeel.background_schedule_idle AS known
    WHERE known.schedule = asked_schedule AND known.fired @> times) THEN
    RETURN;
  END IF;
  -- The record of an idle window is worth no wait for the disk.
  PERFORM set_config('synchronous_commit', 'off', true);
  INSERT INTO evenkeel.background_schedule_idle AS known (schedule, fired, first_window, last_window)
  VALUES (asked_schedule, tstzmultirange(times), starts_at, starts_at)
  ON CONFLICT (schedule) DO UPDATE SET
    fired = known.fired * tstzmultirange(tstzrange(now() - interval '2 days', NULL)) + excluded.fired + coalesce((
      -- Windows on record fill the time since the last idle one: together they are one range.
      SELECT tstzmultirange(tstzrange(upper(known.fired), starts_at))
      FROM evenkeel.background_dispatch_window AS dispatch_window
      WHERE dispatch_window.schedule = asked_schedule AND dispatch_window.tenant_id IS NULL
        AND dispatch_window.params IS NULL AND dispatch_window.window_seconds > 1
        AND dispatch_window.window_start >= upper(known.fired) AND dispatch_window.window_start < starts_at
        AND upper(known.fired) >= starts_at - interval '1 hour'
      HAVING sum(dispatch_window.window_seconds) = extract(epoch FROM starts_at - upper(known.fired))
    ), '{}'),
    idle_count = known.idle_count + 1,
    first_window = least(known.first_window, excluded.first_window),
    last_window = greatest(known.last_window, excluded.last_window),
    updated_at = clock_timestamp()
  WHERE NOT known.fired @> excluded.fired;
END
$$;
-- Statements of every user call it, with the caller's rights.
GRANT EXECUTE ON FUNCTION evenkeel.look_at_tick(
  text, text, text, timestamptz, integer, boolean, boolean, double precision, double precision) TO PUBLIC;
