import { listAudit, type AuditEntry, type AuditFilter } from "./audit/audit.ts";
import type { SqlClient } from "./database/database.ts";
import { changeEnvironment } from "./database/environment-mark.ts";
import type { Page } from "./database/page.ts";
import { everyTenant } from "./database/tenant-scope.ts";
import {
  createScopedDeadLetters,
  type DeadLetterFilter,
  type ScopedDeadLetters,
} from "./dead-letters/dead-letter-records.ts";
import { discardLetters, requeueLetters, type RequeueItem } from "./dead-letters/redrive.ts";
import { createBulkChanges, type BulkJobChanges } from "./jobs/changes/bulk-changes.ts";
import { checkActor, createJobChanges, type JobChanges } from "./jobs/changes/job-changes.ts";
import { createScopedEffects, resolveEffect, type OperatorEffects } from "./jobs/effect-records.ts";
import { createScopedJobs, type ScopedJobs } from "./jobs/job-records.ts";
import { createOperatorQueue, type OperatorQueue } from "./jobs/queue-controls.ts";
import { createScopedRuns, type ScopedRuns } from "./runs/run-records.ts";
import { decideSchedule, type OperatorSchedules } from "./schedules/schedule-controls.ts";

/** Dead letters as an operator decides about them. Each decision is audited. */
export interface OperatorDeadLetters extends ScopedDeadLetters {
  /**
   * Requeues the work of open letters, each once however many operators ask: a job is enqueued anew, a run's
   * event is sent again through the outbox under a new id, an event of the outbox waits to be sent again. The
   * job, the letter and the audit entry change in one statement. Returns the letters requeued; the others are
   * no longer open, have nothing to requeue, or their unique key is taken.
   */
  requeue(items: readonly RequeueItem[], reason?: string): Promise<string[]>;
  /** Closes open letters that match the filter, at most `limit`, which defaults to 100. Returns their ids. */
  discard(
    filter: DeadLetterFilter,
    decision: { readonly reason: string; readonly limit?: number },
  ): Promise<string[]>;
}

/** Jobs as an operator decides about them, one by one and in bulk. */
export interface OperatorJobs extends ScopedJobs, JobChanges, BulkJobChanges {}

/** What an operator may see and do: every tenant's rows, under a name. */
export interface OperatorLedger {
  readonly jobs: OperatorJobs;
  /** What jobs did outside the database. */
  readonly effects: OperatorEffects;
  readonly runs: ScopedRuns;
  readonly deadLetters: OperatorDeadLetters;
  readonly schedules: OperatorSchedules;
  readonly queue: OperatorQueue;
  /**
   * Gives the ledger to another environment, and returns the one that it was of; `null`: none. It works on a ledger of
   * any environment: call it after a database was copied, or where the mark is wrong. Hosts that are running look again
   * when they start and at each `ping()`, so stop those of the former environment first.
   */
  changeEnvironment(
    environment: string,
    decision?: { readonly reason?: string },
  ): Promise<string | null>;
  /** What operators did, the newest first. */
  audit(filter?: AuditFilter & Page): Promise<AuditEntry[]>;
}

/**
 * Returns the ledger as an operator sees it.
 *
 * @param unguarded For what is done to a ledger that its hosts refuse.
 * @throws LedgerError `invalid_actor` unless the name has 1 to 200 characters.
 */
export function createOperatorLedger(
  sql: SqlClient,
  actor: string,
  unguarded: SqlClient,
): OperatorLedger {
  checkActor(actor);
  const scope = everyTenant(sql);
  return {
    jobs: {
      ...createScopedJobs(scope),
      ...createJobChanges(scope, actor),
      ...createBulkChanges(sql, actor),
    },
    effects: {
      ...createScopedEffects(scope),
      resolve: (jobId, name, decision) => resolveEffect(sql, actor, { ...decision, jobId, name }),
    },
    runs: createScopedRuns(scope),
    deadLetters: {
      ...createScopedDeadLetters(scope),
      requeue: (items, reason) => requeueLetters(sql, actor, items, reason),
      discard: (filter, decision) => discardLetters(scope, actor, filter, decision),
    },
    schedules: {
      pause: (id, { reason } = {}) => decideSchedule(sql, actor, { id, paused: true, reason }),
      resume: (id, { reason } = {}) => decideSchedule(sql, actor, { id, paused: false, reason }),
    },
    queue: createOperatorQueue(sql, actor),
    changeEnvironment: (environment, { reason } = {}) =>
      changeEnvironment(unguarded, actor, environment, reason),
    audit: (filter) => listAudit(scope, filter),
  };
}
