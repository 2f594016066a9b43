import type { SqlClient } from "../database/database.ts";

/** What operators decided about a schedule. */
export interface ScheduleRecord {
  readonly id: string;
  readonly paused: boolean;
  readonly pausedAt: Date | null;
  readonly pausedBy: string | null;
  readonly pauseReason: string | null;
}

/** A schedule as a host declares it. */
export interface ScheduleDeclaration {
  readonly id: string;
  /** Whether it starts out paused; only its first declaration counts. */
  readonly paused: boolean;
  /** Its settings, as JSON. */
  readonly definition: unknown;
}

/** How far one scope of a schedule has come. */
export interface ScheduleProgress {
  readonly schedule: string;
  /** `null`: the schedule's global scope. */
  readonly tenantId: string | null;
  /**
   * Where to begin to look: when the schedule was declared or resumed, a day ago, or the newest window, if that
   * is older; for a tenant, its first window of the last day.
   */
  readonly since: Date;
  /** The start of the newest window on record; `null` without one in the last day. */
  readonly newest: Date | null;
}

/** The operators' decisions about schedules. They hold until an operator changes them, across deploys. */
export interface ScheduleStore {
  /** Mirrors declarations. What operators decided stays: a deploy pauses and resumes nothing. */
  declare(declarations: readonly ScheduleDeclaration[]): Promise<void>;
  /** Where schedules that are not paused stand, one row per scope with windows of the last day. */
  progress(ids: readonly string[]): Promise<ScheduleProgress[]>;
  /** `undefined`: no operator ever decided about it; it runs. */
  find(id: string): Promise<ScheduleRecord | undefined>;
}

/** The schedule store on a connection pool. */
export function createScheduleStore(sql: SqlClient): ScheduleStore {
  return {
    declare: async (declarations) => {
      await sql.query(
        `INSERT INTO "evenkeel"."background_schedule" AS "s" ("id", "paused", "paused_at", "paused_by", "definition")
         SELECT "d"."id", "d"."paused", CASE WHEN "d"."paused" THEN clock_timestamp() END,
           CASE WHEN "d"."paused" THEN 'declaration' END, "d"."definition"
         FROM jsonb_to_recordset($1::jsonb) AS "d" ("id" text, "paused" boolean, "definition" jsonb)
         ON CONFLICT ("id") DO UPDATE SET "definition" = excluded."definition"
         WHERE "s"."definition" IS DISTINCT FROM excluded."definition"`,
        [JSON.stringify(declarations)],
      );
    },
    progress: (ids) =>
      sql.query<ScheduleProgress>(
        `SELECT "s"."id" AS "schedule", "w"."tenant_id" AS "tenantId",
           greatest("s"."updated_at", CASE WHEN "w"."tenant_id" IS NOT NULL THEN min("w"."window_start")
             -- Gaps are looked for in the last day, or since the newest window if that is older: what was
             -- pruned must not count as missed.
             ELSE least(clock_timestamp() - interval '1 day', (
               SELECT "n"."window_start" FROM "evenkeel"."background_dispatch_window" AS "n"
               WHERE "n"."schedule" = "s"."id" ORDER BY "n"."window_start" DESC LIMIT 1
             )) END) AS "since",
           max("w"."window_start") AS "newest"
         FROM "evenkeel"."background_schedule" AS "s"
         LEFT JOIN "evenkeel"."background_dispatch_window" AS "w"
           ON "w"."schedule" = "s"."id" AND "w"."window_start" > clock_timestamp() - interval '1 day'
         WHERE NOT "s"."paused" AND "s"."id" IN (SELECT jsonb_array_elements_text($1::jsonb))
         GROUP BY "s"."id", "w"."tenant_id"`,
        [JSON.stringify(ids)],
      ),
    find: async (id) => {
      const [row] = await sql.query<ScheduleRow>(
        `SELECT * FROM "evenkeel"."background_schedule" WHERE "id" = $1`,
        [id],
      );
      return row === undefined ? undefined : toScheduleRecord(row);
    },
  };
}

/** A row of the table. */
export interface ScheduleRow {
  readonly id: string;
  readonly paused: boolean;
  readonly paused_at: Date | null;
  readonly paused_by: string | null;
  readonly pause_reason: string | null;
}

/** A row as a record. */
export function toScheduleRecord(row: ScheduleRow): ScheduleRecord {
  return {
    id: row.id,
    paused: row.paused,
    pausedAt: row.paused_at,
    pausedBy: row.paused_by,
    pauseReason: row.pause_reason,
  };
}
