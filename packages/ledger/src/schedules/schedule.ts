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

/** A definition that had other windows than the one after it. */
export interface EarlierDefinition {
  readonly definition: unknown;
  /** Since when it held, ISO 8601; `null`: from the first declaration. */
  readonly from: string | null;
  /** When another took its place, ISO 8601. */
  readonly until: string;
}

/** How far one scope of a schedule has come. */
export interface ScheduleProgress {
  readonly schedule: string;
  /** `null`: the schedule's global scope. */
  readonly tenantId: string | null;
  /**
   * Where to begin to look: when the schedule was declared or resumed, a day ago, or the newest window, if that
   * is older; for a tenant, its first window of the last day, or of the last three if that is longer.
   */
  readonly since: Date;
  /** The start of the newest window of its own on record, an idle one included, nudges left out; `null` without one in that time. */
  readonly newest: Date | null;
  /** The times of windows that had their tick and found nothing to do, ISO 8601, the oldest first. */
  readonly fired: readonly { readonly from: string; readonly until: string }[];
  /** Since when its windows are those of its definition; `null`: from the first declaration. */
  readonly definedAt: Date | null;
  /** Its definitions before, the oldest first, 20 at most. */
  readonly earlierDefinitions: readonly EarlierDefinition[];
}

/** A row of the table. */
export interface ScheduleRow {
  readonly id: string;
  readonly paused: boolean;
  readonly paused_at: Date | null;
  readonly paused_by: string | null;
  readonly pause_reason: string | null;
}

/** Returns a row as a record. */
export function toScheduleRecord(row: ScheduleRow): ScheduleRecord {
  return {
    id: row.id,
    paused: row.paused,
    pausedAt: row.paused_at,
    pausedBy: row.paused_by,
    pauseReason: row.pause_reason,
  };
}
