import { toSqlClient } from "../../database/database.ts";
import { LedgerError } from "../../database/ledger-error.ts";
import { defineStatement } from "../../database/statement.ts";
import { oneTenantWithin, type Scope } from "../../database/tenant-scope.ts";
import type { TransactionClient } from "../../database/transaction-client.ts";
import { isJobId, type JobStatus } from "../job.ts";
import { nextFences } from "../lease.ts";
import { turnAt } from "../turn.ts";

/** Names a job by the unique key that it holds: of one that waits and one that runs, the one that waits. */
export interface JobKey {
  readonly tenantId: string;
  readonly type: string;
  readonly uniqueKey: string;
}

/** A job's id, or the key that it holds. */
export type JobTarget = string | JobKey;

/** When a job is to be due: at a time, or in so many milliseconds by the database's clock. */
export type NewDueTime = Date | { readonly delayMs: number };

/** Why it is done, for the audit. */
export interface ChangeReason {
  /** Kept in the audit. Defaults to none. */
  readonly reason?: string;
}

/** What became of a job that was to be cancelled. */
export interface Cancellation {
  /** `false`: it had ended before, and stays as it is; or there is no such job. */
  readonly cancelled: boolean;
  /** Absent: the scope has no such job. */
  readonly id?: string;
  /** Where it stood when it was cancelled; else how it had ended. Absent as `id` is. */
  readonly status?: JobStatus;
}

/** What became of a job that was to be due at another time. */
export interface Rescheduling {
  /** `false`: it runs or has ended, and stays as it is; or there is no such job. */
  readonly rescheduled: boolean;
  /** Absent: the scope has no such job. */
  readonly id?: string;
  /** Where it stood when it was rescheduled; else where it stands. Absent as `id` is. */
  readonly status?: JobStatus;
}

/** Decisions about single jobs. Each is audited in the statement that carries it out. */
export interface JobChanges {
  /**
   * Cancels a job that waits or runs, at once: it is in the history as `CANCELLED`, whatever its worker does. A handler
   * that runs has its signal fired when its host notices, and can settle nothing any more.
   *
   * In a transaction the job stays locked until that ends: claims pass it over, and other jobs of its host go on.
   */
  cancel(job: JobTarget, options?: ChangeReason): Promise<Cancellation>;
  /**
   * Makes a job that waits due at another time. One that runs is left to its worker.
   *
   * @throws RangeError for an invalid date or delay.
   */
  reschedule(job: JobTarget, to: NewDueTime, options?: ChangeReason): Promise<Rescheduling>;
}

/** Deletes the jobs `found`, which are locked, and puts them into the history. Parameters: `actor` and `reason`. */
export const cancelFound: string = `
  cancelled AS (
    DELETE FROM evenkeel.background_job AS job USING found WHERE job.id = found.id
    RETURNING job.*
  ),
  audit AS (
    INSERT INTO evenkeel.background_audit_entry
      (actor, action, subject_kind, subject_id, tenant_id, before, after, reason)
    SELECT :actor, 'job.cancel', 'job', id::text, tenant_id,
      jsonb_strip_nulls(jsonb_build_object('status', state, 'owner', owner, 'startedAt', started_at)),
      '{"status":"CANCELLED"}', :reason::text
    FROM cancelled
  ),
  history AS (
    INSERT INTO evenkeel.background_job_history (
      id, tenant_id, type, version, payload, lane, outcome, priority, run_at, attempt, unique_key, errors,
      correlation_id, created_at
    )
    SELECT id, tenant_id, type, version, payload, lane, 'CANCELLED', priority, run_at, attempt, unique_key, errors,
      correlation_id, created_at
    FROM cancelled
  )`;

/**
 * Makes the jobs `found`, which are locked and wait, due at another time. They wait among the scheduled even where that
 * has come: whoever makes them available lowers its watermark, below which its claims would not look. A run that one was
 * delegated to finds nothing. Parameters: as for {@link cancelFound}, and `runAt` or `delayMs`, the other null.
 *
 * By its address as well: a job that changed between the statement's start and its lock is left as it is. The update would
 * begin at the version that the statement sees, and there wait behind whoever queues for the locks of enqueues (KEY
 * SHARE), with the job locked that such an enqueue may be about to replace: a deadlock. A lock FOR UPDATE would wait for
 * enqueues in callers' transactions, and so would whoever reschedules.
 */
export const rescheduleFound: string = `
  moved AS (
    UPDATE evenkeel.background_job AS job
    SET run_at = due.at, turn_at = ${turnAt("due.at", "job.priority")}, state = 'SCHEDULED',
      fence = ${nextFences}
    FROM found CROSS JOIN (
      -- statement_timestamp() and not now(), as the caller's transaction may have begun long ago.
      SELECT date_trunc('milliseconds', COALESCE(
        :runAt::timestamptz, statement_timestamp() + :delayMs::float8 * interval '1 millisecond'
      )) AS at
    ) AS due
    WHERE job.id = found.id AND job.ctid = found.ctid
    RETURNING job.id, job.tenant_id, job.run_at AS after, found.run_at AS before, found.state
  ),
  audit AS (
    INSERT INTO evenkeel.background_audit_entry
      (actor, action, subject_kind, subject_id, tenant_id, before, after, reason)
    SELECT :actor, 'job.reschedule', 'job', id::text, tenant_id, jsonb_build_object('runAt', before),
      jsonb_build_object('runAt', after), :reason::text
    FROM moved
  )`;

/** Names a job: by its id, and where a key led to it by that as well, as its id may be another job's by now. */
type NameParameter = "id" | "keyTenant" | "type" | "uniqueKey";

const isNamed = (
  row: "job" | "ended",
): string => `${row}.id = :id::bigint AND :tenant(${row}.tenant_id)
      AND (:uniqueKey::text IS NULL
        OR (${row}.tenant_id, ${row}.type, ${row}.unique_key) = (:keyTenant, :type, :uniqueKey))`;

/** Locks one job. It waits for whoever has locked it, and sees what that one made of it. */
const foundByName = (lock: "FOR UPDATE" | "FOR NO KEY UPDATE", condition: string): string => `
  found AS MATERIALIZED (
    SELECT job.id, job.ctid, job.run_at, job.state FROM evenkeel.background_job AS job
    WHERE ${isNamed("job")} AND ${condition}
    ${lock}
  )`;

const cancelStatement = defineStatement<NameParameter | "actor" | "reason">(`
WITH ${foundByName("FOR UPDATE", "true")}, ${cancelFound}
SELECT id::text, state::text AS status FROM cancelled`);

const rescheduleStatement = defineStatement<
  NameParameter | "actor" | "reason" | "runAt" | "delayMs"
>(`
WITH ${foundByName("FOR NO KEY UPDATE", "job.state IN ('SCHEDULED', 'PENDING')")}, ${rescheduleFound}
SELECT found.id::text, found.state::text AS status, moved.id IS NOT NULL AS "isMoved"
FROM found LEFT JOIN moved USING (id)`);

const statusStatement = defineStatement<NameParameter>(`
SELECT job.id::text, job.state::text AS status FROM evenkeel.background_job AS job WHERE ${isNamed("job")}
UNION ALL (
  SELECT ended.id::text, ended.outcome::text FROM evenkeel.background_job_history AS ended WHERE ${isNamed("ended")}
  ORDER BY ended.created_at DESC LIMIT 1
)
LIMIT 1`);

const holderStatement = `
SELECT held.job_id::text AS id FROM evenkeel.background_job_unique_key AS held
WHERE held.tenant_id = $1 AND held.type = $2 AND held.unique_key = $3 AND :tenant(held.tenant_id)
  AND EXISTS ( -- Ids may go back after a restore: the job says under which key it was enqueued.
    SELECT FROM evenkeel.background_job AS job
    WHERE job.id = held.job_id AND job.tenant_id = held.tenant_id AND job.type = held.type
      AND job.unique_key = held.unique_key
    UNION ALL
    SELECT FROM evenkeel.background_job_history AS ended
    WHERE ended.id = held.job_id AND ended.tenant_id = held.tenant_id AND ended.type = held.type
      AND ended.unique_key = held.unique_key
  )`;

interface Row {
  readonly id: string;
  readonly status: JobStatus;
}

/** `isMoved` is false for a job that changed since the statement began: the next sees what it has become. */
interface MovedRow extends Row {
  readonly isMoved: boolean;
}

/** How often a key is looked up that another job takes again and again. */
const mostLooks = 5;

/** Returns what can be done to the jobs of a scope, audited under a name. */
export function createJobChanges(scope: Scope, actor: string): JobChanges {
  const holderOf = async ({ tenantId, type, uniqueKey }: JobKey): Promise<string | undefined> => {
    const key = [tenantId, type, uniqueKey];
    const [row] = await scope.query<{ id: string }>(holderStatement, key);
    return row?.id;
  };

  /** Does it to the job; of a key that changes hands meanwhile, to the job that has it then. */
  async function change(
    target: JobTarget,
    carryOut: (name: Readonly<Record<NameParameter, string | null>>) => Promise<Row[]>,
  ): Promise<Partial<Row> & { readonly isDone: boolean }> {
    const isId = typeof target === "string";
    const key = isId ? { tenantId: null, type: null, uniqueKey: null } : target;
    let id = isId ? target : await holderOf(target);
    for (let looks = 1; ; looks += 1) {
      if (id === undefined || !isJobId(id)) return { isDone: false };
      const name = { id, keyTenant: key.tenantId, type: key.type, uniqueKey: key.uniqueKey };
      const [done] = await carryOut(name);
      if (done !== undefined) return { isDone: true, ...done };
      const now = isId ? id : await holderOf(target);
      // Its row in the history may be younger than the statement that did not find it.
      const [row] = await scope.query<Row>(statusStatement.text, statusStatement.values(name));
      if (now === id || looks === mostLooks) return { isDone: false, ...row };
      id = now;
    }
  }

  return {
    cancel: async (job, { reason = null } = {}) => {
      const { isDone, ...row } = await change(job, (name) =>
        scope.query<Row>(cancelStatement.text, cancelStatement.values({ ...name, actor, reason })),
      );
      return { cancelled: isDone, ...row };
    },
    reschedule: async (job, to, { reason = null } = {}) => {
      const due = toDueTime(to);
      const { isDone, ...row } = await change(job, async (name) => {
        const values = rescheduleStatement.values({ ...name, actor, reason, ...due });
        for (;;) {
          const [found] = await scope.query<MovedRow>(rescheduleStatement.text, values);
          if (found === undefined) return [];
          const { isMoved, ...moved } = found;
          if (isMoved) return [moved];
        }
      });
      return { rescheduled: isDone, ...row };
    },
  };
}

/** Returns a time as the statements take it. @throws RangeError for an invalid date or delay. */
export function toDueTime(to: NewDueTime): { runAt: string | null; delayMs: number | null } {
  if (!("delayMs" in to)) return { runAt: to.toISOString(), delayMs: null };
  if (Number.isFinite(to.delayMs)) return { runAt: null, delayMs: to.delayMs };
  throw new RangeError(`delayMs must be a number of milliseconds; got ${to.delayMs}.`);
}

/**
 * Returns what can be done to a tenant's jobs inside a caller's transaction: it is done if and when that commits.
 *
 * @param tx Prisma's `tx`, a `pg` client; or a pool, which commits at once.
 * @param actor Who does it, for the audit: 1 to 200 characters.
 * @throws InputError `invalid_tenant`, LedgerError `invalid_actor`.
 */
export function changeJobs(tx: TransactionClient, tenantId: string, actor: string): JobChanges {
  checkActor(actor);
  return createJobChanges(oneTenantWithin(toSqlClient(tx), tenantId), actor);
}

/** @throws LedgerError `invalid_actor` unless a name has 1 to 200 characters. */
export function checkActor(actor: unknown): asserts actor is string {
  if (typeof actor === "string" && actor.trim() !== "" && actor.length <= 200) return;
  throw new LedgerError("invalid_actor", "An operator's name must have 1 to 200 characters.");
}
