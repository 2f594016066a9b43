import type { SqlClient } from "../database/database.ts";
import {
  toScheduleRecord,
  type ScheduleDeclaration,
  type ScheduleProgress,
  type ScheduleRecord,
  type ScheduleRow,
} from "./schedule.ts";

/** The operators' decisions about schedules. They hold until an operator changes them, across deploys. */
export interface ScheduleStore {
  /**
   * Mirrors declarations, and keeps since when a definition's windows hold and what they were before. What operators
   * decided stays: a deploy pauses and resumes nothing.
   */
  declare(declarations: readonly ScheduleDeclaration[]): Promise<void>;
  /**
   * Where schedules that are not paused stand, one row per scope with windows of the last day or, where windows are
   * long, of the time of the last three.
   */
  progress(ids: readonly string[]): Promise<ScheduleProgress[]>;
  /** `undefined`: no operator ever decided about it; it runs. */
  find(id: string): Promise<ScheduleRecord | undefined>;
}

/** Creates the schedule store on a connection pool. */
export function createScheduleStore(sql: SqlClient): ScheduleStore {
  return {
    declare: async (declarations) => {
      await sql.query(
        // What is idle is so by the windows of its time: one that a change cuts off was none to its end.
        `WITH cut AS (
           UPDATE evenkeel.background_schedule_idle AS idle
           SET fired = idle.fired * tstzmultirange(tstzrange(NULL, clock_timestamp()))
           FROM jsonb_to_recordset($1::jsonb) AS declared (id text, definition jsonb), evenkeel.background_schedule AS schedule
           WHERE schedule.id = declared.id AND idle.schedule = declared.id AND schedule.definition IS NOT NULL
             AND (schedule.definition->'every', schedule.definition->'cron', schedule.definition->'timeZone')
               IS DISTINCT FROM (declared.definition->'every', declared.definition->'cron', declared.definition->'timeZone')
         )
         INSERT INTO evenkeel.background_schedule AS schedule (id, paused, paused_at, paused_by, definition)
         SELECT declared.id, declared.paused, CASE WHEN declared.paused THEN clock_timestamp() END,
           CASE WHEN declared.paused THEN 'declaration' END, declared.definition
         FROM jsonb_to_recordset($1::jsonb) AS declared (id text, paused boolean, definition jsonb)
         ON CONFLICT (id) DO UPDATE SET (definition, defined_at, earlier_definitions) = (
           SELECT excluded.definition,
             CASE WHEN changed THEN clock_timestamp() ELSE schedule.defined_at END,
             CASE WHEN changed THEN (
               SELECT jsonb_agg(kept.entry ORDER BY kept.place) FROM (
                 SELECT entry, place FROM jsonb_array_elements(schedule.earlier_definitions || jsonb_build_object(
                   'definition', schedule.definition, 'from', schedule.defined_at, 'until', clock_timestamp()
                 )) WITH ORDINALITY AS earlier (entry, place) ORDER BY place DESC LIMIT 20
               ) AS kept
             ) ELSE schedule.earlier_definitions END
           FROM (
             SELECT schedule.definition IS NOT NULL AND
               (schedule.definition->'every', schedule.definition->'cron', schedule.definition->'timeZone')
               IS DISTINCT FROM
               (excluded.definition->'every', excluded.definition->'cron', excluded.definition->'timeZone') AS changed
           ) AS decision
         )
         WHERE schedule.definition IS DISTINCT FROM excluded.definition`,
        [JSON.stringify(declarations)],
      );
    },
    progress: (ids) =>
      sql.query<ScheduleProgress>(
        // now() and not clock_timestamp(): it bounds the scan of an index. A nudge's window, of one second, is none of the
        // schedule's own, which last 15 at least.
        `SELECT schedule.id AS schedule, recent.tenant_id AS "tenantId",
           greatest(schedule.updated_at, CASE WHEN recent.tenant_id IS NOT NULL THEN recent.oldest
             -- Gaps are looked for in the last day, or since the newest window if that is older: what was
             -- pruned must not count as missed. Without a window on record, none was pruned.
             ELSE least(now() - interval '1 day', coalesce(
               greatest(latest.window_start, idle.last_window), schedule.updated_at)) END) AS since,
           greatest(recent.newest, idle.last_window) AS newest,
           coalesce((
             SELECT jsonb_agg(jsonb_build_object('from', lower(times), 'until', upper(times)) ORDER BY times)
             FROM unnest(idle.fired) AS times
           ), '[]') AS fired, schedule.defined_at AS "definedAt",
           schedule.earlier_definitions AS "earlierDefinitions"
         FROM evenkeel.background_schedule AS schedule
         LEFT JOIN LATERAL (
           SELECT dispatch_window.window_start, dispatch_window.window_seconds
           FROM evenkeel.background_dispatch_window AS dispatch_window
           WHERE dispatch_window.schedule = schedule.id AND dispatch_window.window_seconds > 1 ORDER BY dispatch_window.window_start DESC LIMIT 1
         ) AS latest ON true
         LEFT JOIN LATERAL (
           SELECT dispatch_window.tenant_id, min(dispatch_window.window_start) AS oldest,
             max(dispatch_window.window_start) AS newest
           FROM evenkeel.background_dispatch_window AS dispatch_window
           WHERE dispatch_window.schedule = schedule.id AND dispatch_window.window_seconds > 1
             -- A window is missed once it is over, and the one before it is as long.
             AND dispatch_window.window_start > now()
               - greatest(interval '1 day', latest.window_seconds * interval '3 seconds')
           GROUP BY dispatch_window.tenant_id
         ) AS recent ON true
         LEFT JOIN evenkeel.background_schedule_idle AS idle
           ON idle.schedule = schedule.id AND recent.tenant_id IS NULL
         WHERE NOT schedule.paused AND schedule.id IN (SELECT jsonb_array_elements_text($1::jsonb))`,
        [JSON.stringify(ids)],
      ),
    find: async (id) => {
      const [row] = await sql.query<ScheduleRow>(
        `SELECT * FROM evenkeel.background_schedule WHERE id = $1`,
        [id],
      );
      return row === undefined ? undefined : toScheduleRecord(row);
    },
  };
}
