import type { SqlClient } from "../database/database.ts";
import { defineStatement, type Statement } from "../database/statement.ts";
import { hasLiveRun } from "../runs/run-conditions.ts";
import { overlappingRuns } from "./overlap.ts";

/** The window that a tick belongs to, and by what it is judged. */
export interface TickRequest {
  readonly dispatchKey: string;
  readonly schedule: string;
  readonly scope: string;
  readonly windowStart: Date;
  readonly windowSeconds: number;
  /** Whether the window is recorded as idle where there is nothing to do. `false`: only looks. */
  readonly mayBeIdle: boolean;
  /** Whether a run under way of an earlier window leaves this one out, which its claim then records. */
  readonly skipOnOverlap: boolean;
  /** How long a sent window may wait for its run before it waits for repair, in milliseconds. */
  readonly neverStartedAfterMs: number;
  /** How long a run may be silent before it waits for repair, in milliseconds. */
  readonly staleAfterMs: number;
}

/** What a tick has to do. */
export interface TickOutlook {
  /** Nothing at all: the window is on record as idle, and is not to be claimed. */
  readonly isIdle: boolean;
  /** Whether jobs are due, or will be before a drain would end that found none. */
  readonly hasWork: boolean;
  /** Whether upkeep is due: something waits for repair, or its last is long enough ago. */
  readonly isMaintenanceDue: boolean;
}

/** Upkeep is due so long after the last: where nothing is to be done, and where work was sent since. */
const idleCadence = "interval '30 minutes'";
const busyCadence = "interval '5 minutes'";

/** As long as a drain waits for new jobs: what becomes due within it is due. */
const lookahead = "interval '2 seconds'";

/** The oldest that is repaired, and the oldest that this looks for: what was sent before is found by the cadence. */
const repairedFor = "interval '24 hours'";
const sentWithin = "interval '10 minutes'";

/** For how long a schedule's idle windows are kept, and across how long a time of dispatched ones they are joined. */
const keptFor = "interval '2 days'";
const joinedOver = "interval '1 hour'";

/*
 * Whether a tick has anything to do, and the record of one that has not. It is asked once a minute of an idle product,
 * so each part is a probe of an index that holds what is open. ORDER BY takes the planner there whatever it believes of
 * how much is due, and now() can bound a scan. What an open transaction has not committed, the next tick sees.
 *
 * Due are jobs of any type, whoever serves it, and leases that expired. What waits for repair are windows whose host
 * died, whose send failed or whose run never started, silent runs, and events of the outbox that nobody relays. A
 * window of a paused schedule waits for its operator.
 */
export const outlookStatement: Statement<keyof TickRequest> = defineStatement(`
WITH RECURSIVE scheduled AS (
  (SELECT job.type FROM evenkeel.background_job AS job WHERE job.state = 'SCHEDULED' ORDER BY job.type LIMIT 1)
  UNION ALL
  SELECT (
    SELECT job.type FROM evenkeel.background_job AS job
    WHERE job.state = 'SCHEDULED' AND job.type > scheduled.type ORDER BY job.type LIMIT 1
  ) FROM scheduled WHERE scheduled.type IS NOT NULL
), due AS MATERIALIZED (
  SELECT EXISTS (
      SELECT FROM evenkeel.background_job AS job WHERE job.state = 'PENDING'
      ORDER BY job.bucket, job.tenant_id, job.turn_at, job.id LIMIT 1
    ) OR EXISTS (
      SELECT FROM evenkeel.background_job AS job
      WHERE job.state = 'RUNNING' AND job.lease_expires_at <= now() + ${lookahead}
      ORDER BY job.lease_expires_at LIMIT 1
    ) OR EXISTS (
      SELECT FROM scheduled CROSS JOIN LATERAL (
        SELECT job.run_at FROM evenkeel.background_job AS job
        WHERE job.state = 'SCHEDULED' AND job.type = scheduled.type ORDER BY job.run_at LIMIT 1
      ) AS first
      WHERE first.run_at <= now() + ${lookahead}
    ) AS work
), undone AS MATERIALIZED (
  SELECT EXISTS (
      SELECT FROM evenkeel.background_dispatch_window AS dispatch_window
      WHERE dispatch_window.status IN ('DISPATCHING', 'ENQUEUE_FAILED')
        AND (dispatch_window.status = 'ENQUEUE_FAILED' OR dispatch_window.lease_expires_at <= now())
        AND (dispatch_window.created_at > now() - ${repairedFor} OR EXISTS (
          SELECT FROM evenkeel.background_dead_letter AS letter
          WHERE letter.kind = 'DISPATCH' AND letter.source_id = dispatch_window.dispatch_key
            AND letter.status = 'REQUEUED' AND letter.resolved_at > now() - ${repairedFor}
        ))
        AND NOT EXISTS (
          SELECT FROM evenkeel.background_schedule AS other WHERE other.id = dispatch_window.schedule AND other.paused
        )
    ) OR EXISTS (
      SELECT FROM evenkeel.background_dispatch_window AS dispatch_window
      WHERE dispatch_window.status = 'ENQUEUED' AND dispatch_window.events ? 'background/process.requested'
        AND dispatch_window.enqueued_at > now() - ${sentWithin}
          - :neverStartedAfterMs::double precision * interval '1 millisecond'
        AND dispatch_window.enqueued_at < now() - :neverStartedAfterMs::double precision * interval '1 millisecond'
        AND NOT ${hasLiveRun}
    ) OR EXISTS (
      SELECT FROM evenkeel.background_function_run AS run
      WHERE run.status = 'RUNNING'
        AND run.heartbeat_at < now() - :staleAfterMs::double precision * interval '1 millisecond'
      ORDER BY run.heartbeat_at LIMIT 1
    ) OR (
      EXISTS (SELECT FROM evenkeel.background_outbox_event AS event WHERE event.status = 'PENDING'
        ORDER BY event.id LIMIT 1)
      AND NOT EXISTS (SELECT FROM evenkeel.background_outbox_relay AS relay
        WHERE relay.lease_expires_at > now() OR relay.not_before > now())
    ) AS repair
), maintained AS MATERIALIZED (
  SELECT max(latest.enqueued_at) AS at FROM (
    SELECT dispatch_window.enqueued_at FROM evenkeel.background_dispatch_window AS dispatch_window
    WHERE dispatch_window.status = 'ENQUEUED' AND dispatch_window.enqueued_at > now() - ${idleCadence}
      AND dispatch_window.window_seconds > 1 AND dispatch_window.events ? 'background/maintenance.requested'
    ORDER BY dispatch_window.enqueued_at DESC LIMIT 1
  ) AS latest
), outlook AS MATERIALIZED (
  SELECT due.work, undone.repair OR maintained.at IS NULL OR (
      maintained.at <= now() - ${busyCadence} AND (due.work OR EXISTS (
        SELECT FROM evenkeel.background_dispatch_window AS dispatch_window
        WHERE dispatch_window.status = 'ENQUEUED' AND dispatch_window.enqueued_at > maintained.at
          AND dispatch_window.events ? 'background/process.requested'
      ))
    ) AS upkeep
  FROM due CROSS JOIN undone CROSS JOIN maintained
), idle AS MATERIALIZED (
  SELECT tstzrange(:windowStart::timestamptz,
    :windowStart::timestamptz + :windowSeconds::int * interval '1 second') AS times
  FROM outlook
  WHERE :mayBeIdle::boolean AND NOT outlook.work AND NOT outlook.upkeep
    AND NOT EXISTS (SELECT FROM evenkeel.background_schedule WHERE id = :schedule AND paused)
    AND NOT EXISTS (SELECT FROM evenkeel.background_dispatch_window WHERE dispatch_key = :dispatchKey)
    AND NOT (:skipOnOverlap::boolean AND EXISTS (
      SELECT ${overlappingRuns}
    ))
), noted AS (
  INSERT INTO evenkeel.background_schedule_idle AS known (schedule, fired, first_window, last_window)
  SELECT :schedule, tstzmultirange(idle.times), lower(idle.times), lower(idle.times) FROM idle
  -- A tick that repeats an idle window writes nothing, and waits for nobody.
  WHERE NOT EXISTS (
    SELECT FROM evenkeel.background_schedule_idle WHERE schedule = :schedule AND fired @> idle.times
  )
  ON CONFLICT (schedule) DO UPDATE SET
    fired = known.fired * tstzmultirange(tstzrange(now() - ${keptFor}, NULL)) + excluded.fired + coalesce((
      -- Windows on record fill the time since the last idle one: together they are one range.
      SELECT tstzmultirange(tstzrange(upper(known.fired), excluded.last_window))
      FROM evenkeel.background_dispatch_window AS dispatch_window
      WHERE dispatch_window.schedule = known.schedule AND dispatch_window.tenant_id IS NULL
        AND dispatch_window.params IS NULL AND dispatch_window.window_seconds > 1
        AND dispatch_window.window_start >= upper(known.fired)
        AND dispatch_window.window_start < excluded.last_window
        AND upper(known.fired) >= excluded.last_window - ${joinedOver}
      HAVING sum(dispatch_window.window_seconds) = extract(epoch FROM excluded.last_window - upper(known.fired))
    ), '{}'),
    idle_count = known.idle_count + 1,
    first_window = least(known.first_window, excluded.first_window),
    last_window = greatest(known.last_window, excluded.last_window),
    updated_at = clock_timestamp()
  WHERE NOT known.fired @> excluded.fired
)
SELECT outlook.work AS "hasWork", outlook.upkeep AS "isMaintenanceDue", idle.times IS NOT NULL AS "isIdle",
  -- The record of an idle window is worth no wait for the disk.
  CASE WHEN idle.times IS NOT NULL THEN set_config('synchronous_commit', 'off', true) END AS relaxed
FROM outlook LEFT JOIN idle ON true`);

/**
 * Returns what a tick has to do, and records its window as idle where that is nothing. One statement. A window that is
 * on record already is not idle, nor one of a paused schedule, or one that an earlier run leaves out: its claim says
 * what becomes of it.
 */
export async function lookAtTick(sql: SqlClient, tick: TickRequest): Promise<TickOutlook> {
  const [row] = await sql.query<TickOutlook>(
    outlookStatement.text,
    outlookStatement.values({
      ...tick,
      windowStart: tick.windowStart.toISOString(),
    }),
  );
  if (row === undefined) throw new Error("A look at what is due came back without a row.");
  const { isIdle, hasWork, isMaintenanceDue } = row;
  return { isIdle, hasWork, isMaintenanceDue };
}

const wasIdleStatement = `
SELECT FROM evenkeel.background_schedule_idle
WHERE schedule = split_part($1, '|', 1) AND fired @> tstzrange(
  split_part($1, '|', 5)::timestamptz,
  split_part($1, '|', 5)::timestamptz + split_part($1, '|', 4)::int * interval '1 second')`;

/** The key of a window that can be idle: of the global scope, without parameters. */
const idleKey = /^[^|]+\|v1\|global\|\d{1,9}\|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/u;

/** Returns whether a window had its tick, which found nothing to do. It is known for two days. */
export async function wasIdle(sql: SqlClient, dispatchKey: string): Promise<boolean> {
  if (!idleKey.test(dispatchKey)) return false;
  return (await sql.query(wasIdleStatement, [dispatchKey])).length > 0;
}
