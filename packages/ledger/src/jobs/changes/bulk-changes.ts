import type { SqlClient, SqlValue } from "../../database/database.ts";
import { LedgerError } from "../../database/ledger-error.ts";
import { defineStatement, type Statement } from "../../database/statement.ts";
import { textArray } from "../../database/text-array.ts";
import { isJobId, type JobStatus } from "../job.ts";
import {
  cancelFound,
  rescheduleFound,
  toDueTime,
  type ChangeReason,
  type NewDueTime,
} from "./job-changes.ts";

/** Where a job stands that has not ended. */
export type UnsettledStatus = Extract<JobStatus, "SCHEDULED" | "PENDING" | "RUNNING">;

/** Which jobs a bulk change is about: those that match every field given. At least one must be. */
export interface JobSelection {
  /** Where they stand. Defaults to every status of a job that has not ended. */
  readonly statuses?: readonly UnsettledStatus[];
  readonly type?: string;
  readonly tenantId?: string;
  readonly correlationId?: string;
  /** Enqueued at that time or later. */
  readonly createdFrom?: Date;
  /** Enqueued before that time. */
  readonly createdBefore?: Date;
  /** Due at that time or later. */
  readonly dueFrom?: Date;
  /** Due before that time. */
  readonly dueBefore?: Date;
  /** The lowest priority, -10 to 10. */
  readonly minPriority?: number;
  /** The highest priority, -10 to 10. */
  readonly maxPriority?: number;
}

/** How much one call changes, and where it goes on. */
export interface BulkOptions extends ChangeReason {
  /** Most jobs changed or passed over by this call, 1 to 10,000; a number outside is moved to the nearest. Defaults to 1,000. */
  readonly limit?: number;
  /** The `cursor` of the call before, with the same selection. Absent: from the first job. */
  readonly cursor?: string;
}

/** What one call changed. */
export interface BulkChange {
  /** The jobs changed, in the order of their ids. */
  readonly ids: readonly string[];
  /**
   * Jobs that match and were left as they are: another transaction had them locked at that moment, as a claim does; or,
   * where they are to be due at another time, they run, or another transaction changed them at that moment. `cancel(id)` waits for such a transaction.
   */
  readonly passedOver: readonly string[];
  /**
   * Where the next call goes on; `null`: it is through. It goes no further than the newest job at the first call, so
   * that it ends however many are enqueued meanwhile.
   */
  readonly cursor: string | null;
}

/**
 * Decisions about many jobs, by what they are. Each statement locks at most 500 jobs and looks at 10,000, in the order
 * of their ids, waits for nobody, and is committed by itself. Each job is audited.
 *
 * All throw LedgerError `invalid_options` for a selection that names nothing, or a cursor that is none.
 */
export interface BulkJobChanges {
  /** Returns how many jobs match: what a bulk change of all of them would be about. It locks nothing. */
  countMatching(selection: JobSelection): Promise<number>;
  /** Cancels jobs, those that run as well, as `cancel` does. */
  cancelMany(selection: JobSelection, options?: BulkOptions): Promise<BulkChange>;
  /** Makes jobs that wait due at another time, as `reschedule` does. */
  rescheduleMany(
    selection: JobSelection,
    to: NewDueTime,
    options?: BulkOptions,
  ): Promise<BulkChange>;
}

/** Most rows that one statement looks at, and most that it locks. */
const mostLooked = 10_000;
const mostLocked = 500;

type SelectionParameter =
  | "statuses"
  | "type"
  | "tenantId"
  | "correlationId"
  | "createdFrom"
  | "createdBefore"
  | "dueFrom"
  | "dueBefore"
  | "minPriority"
  | "maxPriority";

/** Whether a row of `job` matches. */
const matches = `(job.state = ANY (:statuses::text::evenkeel.job_state[])
      AND (:type::text IS NULL OR job.type = :type)
      AND (:tenantId::text IS NULL OR job.tenant_id = :tenantId)
      AND (:correlationId::text IS NULL OR job.correlation_id = :correlationId)
      AND (:createdFrom::timestamptz IS NULL OR job.created_at >= :createdFrom)
      AND (:createdBefore::timestamptz IS NULL OR job.created_at < :createdBefore)
      AND (:dueFrom::timestamptz IS NULL OR job.run_at >= :dueFrom)
      AND (:dueBefore::timestamptz IS NULL OR job.run_at < :dueBefore)
      AND (:minPriority::int IS NULL OR job.priority >= :minPriority)
      AND (:maxPriority::int IS NULL OR job.priority <= :maxPriority))`;

type PageParameter = SelectionParameter | "after" | "upTo" | "limit" | "look";

/** The next jobs by id, as far as one statement looks, and those of them that match. */
const page = `
  looked AS MATERIALIZED (
    SELECT job.id, ${matches} AS does_match
    FROM evenkeel.background_job AS job
    WHERE job.id > :after::bigint AND job.id <= :upTo::bigint
    ORDER BY job.id LIMIT :look::int
  ),
  matching AS MATERIALIZED (
    SELECT id FROM looked WHERE does_match ORDER BY id LIMIT :limit::int
  )`;

/** Locks the matching jobs in the order of their ids, as everything that locks several does, and looks again. */
const found = (condition: string): string => `
  found AS MATERIALIZED (
    SELECT job.id, job.ctid, job.run_at, job.state FROM evenkeel.background_job AS job
    WHERE job.id = ANY (ARRAY(SELECT id FROM matching)) AND ${matches} AND ${condition}
    ORDER BY job.id FOR UPDATE SKIP LOCKED
  )`;

/** Where the statement has come to: behind the last that it took, or the last that it looked at. `null`: through. */
const end = `(
    SELECT CASE WHEN (SELECT count(*) FROM matching) = :limit::int THEN (SELECT max(id) FROM matching)
      WHEN count(*) = :look::int THEN max(id) END::text
    FROM looked
  ) AS "end"`;

const changed = (done: string): string => `
SELECT ARRAY(SELECT id::text FROM ${done} ORDER BY id) AS ids,
  ARRAY(SELECT id::text FROM matching WHERE id NOT IN (SELECT id FROM ${done}) ORDER BY id) AS "passedOver", ${end}`;

const countStatement: Statement<PageParameter> = defineStatement(`
WITH ${page}
SELECT (SELECT count(*) FROM matching)::int AS count, ${end}`);

export const cancelManyStatement: Statement<PageParameter | "actor" | "reason"> = defineStatement(`
WITH ${page}, ${found("true")}, ${cancelFound}
${changed("cancelled")}`);

export const rescheduleManyStatement: Statement<
  PageParameter | "actor" | "reason" | "runAt" | "delayMs"
> = defineStatement(`
WITH ${page}, ${found("job.state IN ('SCHEDULED', 'PENDING')")}, ${rescheduleFound}
${changed("moved")}`);

interface CountRow {
  readonly count: number;
  readonly end: string | null;
}

interface ChangedRow {
  readonly ids: readonly string[];
  readonly passedOver: readonly string[];
  readonly end: string | null;
}

type PageValues = Readonly<Record<PageParameter, SqlValue>>;

/** Where a bulk change stands: behind the job `after`, and no further than `upTo`. */
interface Position {
  readonly after: string;
  readonly upTo: string;
}

/** Returns bulk changes, audited under a name. */
export function createBulkChanges(sql: SqlClient, actor: string): BulkJobChanges {
  const firstPosition = async (): Promise<Position> => {
    const [row] = await sql.query<{ newest: string | null }>(
      `SELECT max(id)::text AS newest FROM evenkeel.background_job`,
    );
    return { after: "0", upTo: row?.newest ?? "0" };
  };

  /** Changes page after page until so many are changed or passed over. */
  async function change(
    selection: JobSelection,
    { limit = 1_000, cursor }: BulkOptions,
    ask: (values: PageValues) => Promise<ChangedRow[]>,
  ): Promise<BulkChange> {
    const encoded = encodeSelection(selection);
    const { after, upTo } = cursor === undefined ? await firstPosition() : readCursor(cursor);
    let end: string | null = after;
    let room = Math.min(10_000, Math.max(1, Math.trunc(limit) || 1));
    const ids: string[] = [];
    const passedOver: string[] = [];
    while (end !== null && room > 0) {
      const size = Math.min(mostLocked, room);
      const values = { ...encoded, after: end, upTo, limit: size, look: mostLooked };
      const [row]: ChangedRow[] = await ask(values);
      if (row === undefined) break;
      ids.push(...row.ids);
      passedOver.push(...row.passedOver);
      room -= row.ids.length + row.passedOver.length;
      ({ end } = row);
    }
    return { ids, passedOver, cursor: end === null ? null : `${end}-${upTo}` };
  }

  return {
    countMatching: async (selection) => {
      const encoded = encodeSelection(selection);
      const { after, upTo } = await firstPosition();
      let end: string | null = after;
      let count = 0;
      while (end !== null) {
        const values: PageValues = {
          ...encoded,
          after: end,
          upTo,
          limit: mostLooked,
          look: mostLooked,
        };
        const [row]: CountRow[] = await sql.query(
          countStatement.text,
          countStatement.values(values),
        );
        count += row?.count ?? 0;
        end = row?.end ?? null;
      }
      return count;
    },
    cancelMany: (selection, options = {}) =>
      change(selection, options, (values) => {
        const { reason = null } = options;
        const named = { ...values, actor, reason };
        return sql.query(cancelManyStatement.text, cancelManyStatement.values(named));
      }),
    rescheduleMany: async (selection, to, options = {}) => {
      const due = toDueTime(to);
      return change(selection, options, (values) => {
        const { reason = null } = options;
        const named = { ...values, ...due, actor, reason };
        return sql.query(rescheduleManyStatement.text, rescheduleManyStatement.values(named));
      });
    },
  };
}

const unsettled: readonly UnsettledStatus[] = ["SCHEDULED", "PENDING", "RUNNING"];

function encodeSelection(selection: JobSelection): Record<SelectionParameter, SqlValue> {
  const { statuses = unsettled, type, tenantId, correlationId } = selection;
  const { createdFrom, createdBefore, dueFrom, dueBefore, minPriority, maxPriority } = selection;
  // A whole queue is named by its statuses: an empty object may be a filter that was lost on the way.
  if (Object.values(selection).every((value: unknown) => value === undefined || value === null)) {
    throw new LedgerError(
      "invalid_options",
      "A bulk change needs a selection of at least one field. Name all three statuses to mean every job.",
    );
  }
  const strange = statuses.find((status) => !unsettled.includes(status));
  if (strange !== undefined) {
    throw new LedgerError(
      "invalid_options",
      `A bulk change takes the statuses ${unsettled.join(", ")}; got ${strange}.`,
      { field: "statuses" },
    );
  }
  return {
    statuses: textArray(statuses),
    type: type ?? null,
    tenantId: tenantId ?? null,
    correlationId: correlationId ?? null,
    createdFrom: createdFrom?.toISOString() ?? null,
    createdBefore: createdBefore?.toISOString() ?? null,
    dueFrom: dueFrom?.toISOString() ?? null,
    dueBefore: dueBefore?.toISOString() ?? null,
    minPriority: minPriority ?? null,
    maxPriority: maxPriority ?? null,
  };
}

function readCursor(cursor: string): Position {
  const [after = "", upTo = "", ...rest] = cursor.split("-");
  if (isJobId(after) && isJobId(upTo) && rest.length === 0) return { after, upTo };
  throw new LedgerError(
    "invalid_options",
    "The cursor of a bulk change is what the call before returned.",
    { field: "cursor" },
  );
}
