export {
  toSqlClient,
  type PgQueryable,
  type PrismaRawClient,
  type SqlClient,
  type SqlValue,
  type TransactionClient,
} from "./database.ts";
export type {
  DeadLetterKind,
  DeadLetterReason,
  DeadLetterStore,
  NewDeadLetter,
} from "./dead-letters.ts";
export { redactError } from "./error-text.ts";
export type { GuardOutcome, GuardRequest, GuardStore } from "./guards.ts";
export type { ClaimOneRequest } from "./job-store-claim-one.ts";
export {
  effectTransitions,
  type EffectBegin,
  type EffectState,
  type JobEffectStore,
  type RecordedResult,
} from "./job-effects.ts";
export type { JobCounts, TypeCount } from "./job-store-counts.ts";
export { insertJobs } from "./job-store-insert.ts";
export { jobTransitions, type JobStatus } from "./job-store-lifecycle.ts";
export { isStorableJson } from "./job-store-record.ts";
export type { JobProgress, ProgressReport } from "./job-store-progress.ts";
export type {
  AttemptError,
  ClaimedJob,
  ClaimRequest,
  ClaimResult,
  InsertedJob,
  JobClaim,
  JobDeathReason,
  JobStore,
  NewJob,
  RecordedAttemptError,
  Settlement,
  Uniqueness,
} from "./job-store.ts";
export { createLedger, type Ledger, type LedgerOptions } from "./ledger.ts";
export { isUnreachable, LedgerError, type LedgerErrorCode } from "./ledger-error.ts";
export type { MigrationResult } from "./migrate.ts";
export { createPruner, type Pruner, type PrunerOptions, type PrunerReport } from "./pruner.ts";
export type { PrunedRows, PruneReport, PruneRequest } from "./pruning.ts";
export type {
  AddedOutboxEvent,
  NewOutboxEvent,
  OutboxBacklog,
  OutboxEvent,
  OutboxLease,
  OutboxSettlement,
  OutboxStore,
} from "./outbox.ts";
export type {
  Reconciliation,
  ReconcileRequest,
  RepairReason,
  WindowBreach,
  WindowRepair,
} from "./reconciliation.ts";
export type { ReceiptRun, WindowProgress, WindowReceipt } from "./receipt.ts";
export type { LedgerReport } from "./report.ts";
export {
  defaultLatenessMs,
  defaultRetention,
  type RetentionChanges,
  type RetentionPolicy,
} from "./retention.ts";
export { runTransitions, type FinishedRunStatus, type RunStatus } from "./run-lifecycle.ts";
export type { AttemptEnd, RunEnd, RunIdentity, RunStart, RunStore } from "./runs.ts";
export type {
  ScheduleDeclaration,
  ScheduleProgress,
  ScheduleRecord,
  ScheduleStore,
} from "./schedules.ts";
export { windowTransitions, type WindowStatus } from "./window-lifecycle.ts";
export type {
  ClaimOutcome,
  MissedWindow,
  StartedWindow,
  WindowClaim,
  WindowRecord,
  WindowStore,
} from "./windows.ts";
export type { AuditEntry, AuditFilter } from "./scoped/audit.ts";
export type {
  DeadLetterFilter,
  DeadLetterRecord,
  ScopedDeadLetters,
} from "./scoped/dead-letters.ts";
export type { RequeueItem } from "./scoped/dead-letter-decisions.ts";
export type { HoldingDecision, JobExplanation } from "./scoped/job-explanation.ts";
export type {
  EffectDecision,
  EffectRecord,
  OperatorEffects,
  ScopedEffects,
} from "./scoped/effects.ts";
export type { JobFilter, JobRecord, ScopedJobs } from "./scoped/jobs.ts";
export type { OperatorDeadLetters, OperatorLedger } from "./scoped/operator-ledger.ts";
export type {
  LimitChange,
  LimitSubject,
  OperatorQueue,
  PauseSubject,
  QueueLimit,
} from "./scoped/queue-decisions.ts";
export type { Page } from "./scoped/page.ts";
export type { RunFilter, RunRecord, ScopedRuns } from "./scoped/runs.ts";
export type { OperatorSchedules } from "./scoped/schedule-decisions.ts";
export type { TenantLedger } from "./scoped/tenant-ledger.ts";
export { deadLetterTransitions, type DeadLetterStatus } from "./dead-letter-lifecycle.ts";
