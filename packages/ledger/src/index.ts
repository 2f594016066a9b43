export { toSqlClient, type SqlClient, type SqlValue } from "./database/database.ts";
export {
  isTransactionClient,
  type DrizzleExecutor,
  type KyselyExecutor,
  type PgQueryable,
  type PostgresJsClient,
  type PrismaRawClient,
  type TransactionClient,
} from "./database/transaction-client.ts";
export { openPool, type PoolSettings } from "./database/pools.ts";
export type { DeadLetterStore } from "./dead-letters/dead-letter-store.ts";
export { redactError } from "./database/redaction.ts";
export type { GuardOutcome, GuardRequest, GuardStore } from "./runs/run-guard.ts";
export type { HandshakeStore } from "./handshake/handshake-store.ts";
export type { LedgerEvidence, RunningFunction } from "./handshake/handshake-evidence.ts";
export type { HandshakeReading, SentHandshake } from "./handshake/handshake.ts";
export type {
  CallRefusal,
  HostIdentity,
  HostObservation,
  HostRecord,
  HostRegistration,
} from "./hosts/host.ts";
export type { ClaimByIdRequest } from "./jobs/claim/claim-by-id.ts";
export {
  effectTransitions,
  type EffectBegin,
  type EffectState,
  type JobEffectStore,
  type RecordedResult,
} from "./jobs/effects.ts";
export type { JobCounts, TypeCount } from "./jobs/backlog.ts";
export { insertJobs } from "./jobs/insertion.ts";
export { isStorableJson } from "./database/storable-json.ts";
export type { JobProgress, ProgressReport } from "./jobs/progress.ts";
export {
  jobTransitions,
  type AttemptError,
  type ClaimedJob,
  type ClaimRequest,
  type ClaimResult,
  type InsertedJob,
  type JobClaim,
  type JobDeathReason,
  type JobStatus,
  type NewJob,
  type RecordedAttemptError,
  type Settlement,
  type Uniqueness,
} from "./jobs/job.ts";
export type { JobStore } from "./jobs/job-store.ts";
export { createLedger, type Ledger, type LedgerOptions } from "./ledger.ts";
export {
  isNotReady,
  describeWriteRefusal,
  isRefusedValue,
  isUnreachable,
  LedgerError,
  type LedgerErrorCode,
} from "./database/ledger-error.ts";
export type { GrantProblem } from "./database/grants.ts";
export type { MigrationResult } from "./database/migrate.ts";
export {
  createPruner,
  type Pruner,
  type PrunerOptions,
  type PrunerReport,
} from "./retention/pruner.ts";
export type { Prunable, PrunedRows, PruneReport, PruneRequest } from "./retention/pruning.ts";
export type {
  AddedOutboxEvent,
  NewOutboxEvent,
  OutboxBacklog,
  OutboxEvent,
  OutboxLease,
  OutboxSettlement,
} from "./outbox/outbox-event.ts";
export type { OutboxStore } from "./outbox/outbox-store.ts";
export type {
  Reconciliation,
  ReconcileRequest,
  RepairReason,
  WindowBreach,
  WindowRepair,
} from "./windows/reconciliation.ts";
export type { ReceiptRun, WindowProgress, WindowReceipt } from "./windows/receipt.ts";
export type { LedgerReport } from "./report.ts";
export {
  defaultLatenessMs,
  defaultRetention,
  type RetentionChanges,
  type RetentionPolicy,
} from "./retention/retention-policy.ts";
export {
  runTransitions,
  type AttemptEnd,
  type FinishedRunStatus,
  type RunEnd,
  type RunIdentity,
  type RunStart,
  type RunStatus,
  type SilentRuns,
} from "./runs/run.ts";
export type { RunStore } from "./runs/run-store.ts";
export type {
  EarlierDefinition,
  ScheduleDeclaration,
  ScheduleProgress,
  ScheduleRecord,
} from "./schedules/schedule.ts";
export type { ScheduleStore } from "./schedules/schedule-store.ts";
export type { FanOutStep, StartedJobs } from "./windows/fan-out.ts";
export type { TickOutlook, TickRequest } from "./windows/tick-outlook.ts";
export {
  windowTransitions,
  type ClaimOutcome,
  type FanOutState,
  type MissedWindow,
  type StartedJob,
  type SendNote,
  type StartedWindow,
  type WindowClaim,
  type WindowRecord,
  type WindowStatus,
} from "./windows/window.ts";
export type { WindowStore } from "./windows/window-store.ts";
export type { AuditEntry, AuditFilter } from "./audit/audit.ts";
export type {
  DeadLetterFilter,
  DeadLetterRecord,
  ScopedDeadLetters,
} from "./dead-letters/dead-letter-records.ts";
export type { RequeueItem } from "./dead-letters/redrive.ts";
export type { HoldingDecision, JobExplanation } from "./jobs/job-explanation.ts";
export type {
  EffectDecision,
  EffectRecord,
  OperatorEffects,
  ScopedEffects,
} from "./jobs/effect-records.ts";
export type { ScopedJobs } from "./jobs/job-records.ts";
export type { JobFilter, JobPosition } from "./jobs/records/job-list.ts";
export type { JobRecord } from "./jobs/records/job-record.ts";
export {
  changeJobs,
  type Cancellation,
  type ChangeReason,
  type JobChanges,
  type JobKey,
  type JobTarget,
  type NewDueTime,
  type Rescheduling,
} from "./jobs/changes/job-changes.ts";
export type { ClaimStanding } from "./jobs/lease.ts";
export type {
  BulkChange,
  BulkJobChanges,
  BulkOptions,
  JobSelection,
  UnsettledStatus,
} from "./jobs/changes/bulk-changes.ts";
export type { OperatorDeadLetters, OperatorJobs, OperatorLedger } from "./operator-ledger.ts";
export type {
  LimitChange,
  LimitSubject,
  OperatorQueue,
  PauseSubject,
  QueueLimit,
} from "./jobs/queue-controls.ts";
export type { Page } from "./database/page.ts";
export type { RunFilter, RunRecord, ScopedRuns } from "./runs/run-records.ts";
export type { OperatorSchedules } from "./schedules/schedule-controls.ts";
export type { TenantLedger } from "./tenant-ledger.ts";
export type {
  TenantDeadLetterRecord,
  TenantDeadLetters,
  TenantFailedAttempt,
} from "./dead-letters/tenant-dead-letter.ts";
export type {
  TenantAttemptError,
  TenantHoldingDecision,
  TenantJobExplanation,
  TenantJobRecord,
  TenantJobs,
} from "./jobs/tenant-job.ts";
export type { TenantRunAttempt, TenantRunRecord, TenantRuns } from "./runs/tenant-run.ts";
export type { TenantReceipt, TenantWindowRecord } from "./windows/tenant-receipt.ts";
export {
  deadLetterTransitions,
  type DeadLetterKind,
  type DeadLetterReason,
  type DeadLetterStatus,
  type NewDeadLetter,
} from "./dead-letters/dead-letter.ts";
