import { silentLogger, type Logger } from "@evenkeel/core";
import type pg from "pg";

import { describeTarget, openPool, toSqlClient } from "./database/database.ts";
import { isUnreachable, LedgerError } from "./database/ledger-error.ts";
import { migrate, type MigrationResult } from "./database/migrate.ts";
import { createRowSecurity, everyTenant, oneTenant } from "./database/tenant-scope.ts";
import { createDeadLetterStore, type DeadLetterStore } from "./dead-letters/dead-letter-store.ts";
import { createJobStore, type JobStore } from "./jobs/job-store.ts";
import { createOperatorLedger, type OperatorLedger } from "./operator-ledger.ts";
import { createOutboxStore, type OutboxStore } from "./outbox/outbox-store.ts";
import { readReport, type LedgerReport } from "./report.ts";
import { prune, type PruneReport, type PruneRequest } from "./retention/pruning.ts";
import { createGuardStore, type GuardStore } from "./runs/run-guard.ts";
import { createRunStore, type RunStore } from "./runs/run-store.ts";
import { createScheduleStore, type ScheduleStore } from "./schedules/schedule-store.ts";
import { createTenantLedger, type TenantLedger } from "./tenant-ledger.ts";
import { readReceipt, type WindowReceipt } from "./windows/receipt.ts";
import { reconcile, type Reconciliation, type ReconcileRequest } from "./windows/reconciliation.ts";
import { createWindowStore, type WindowStore } from "./windows/window-store.ts";

/** Where the ledger's database is: a connection string, or the host's own pool. */
export type LedgerOptions = { readonly logger?: Logger } & (
  | {
      readonly databaseUrl: string;
      /** Most connections of the ledger's own pool, 10 by default. */
      readonly maxConnections?: number;
    }
  | {
      /** The host's pool. The ledger never closes it. */
      readonly pool: pg.Pool;
    }
);

/** The durable record of background work. */
export interface Ledger {
  readonly windows: WindowStore;
  readonly guards: GuardStore;
  readonly runs: RunStore;
  readonly jobs: JobStore;
  readonly deadLetters: DeadLetterStore;
  readonly schedules: ScheduleStore;
  readonly outbox: OutboxStore;
  /**
   * Finds what the dispatch path left undone, claims its repair, marks silent runs as stale, and reports
   * windows that ran twice. Bounded; any number of hosts may call it at once.
   */
  reconcile(request: ReconcileRequest): Promise<Reconciliation>;
  /**
   * Deletes what is older than its status is kept, a bounded batch per table and status; unsettled work
   * never. It waits for nobody and blocks no claim; any number of hosts may call it at once.
   *
   * @throws LedgerError `invalid_retention` that names each setting, before anything is deleted.
   */
  prune(request?: PruneRequest): Promise<PruneReport>;
  /**
   * The ledger as one tenant sees it: its own rows and no others.
   *
   * @throws InputError `invalid_tenant`.
   */
  forTenant(tenantId: string): TenantLedger;
  /**
   * The ledger as an operator sees it: every tenant's rows. What the operator changes is audited under this name.
   *
   * @throws LedgerError `invalid_actor` unless it has 1 to 200 characters.
   */
  asOperator(actor: string): OperatorLedger;
  /** What became of a window: dispatched, started, finished, or why not. `undefined`: not on record. */
  receipt(dispatchKey: string): Promise<WindowReceipt | undefined>;
  /** Numbers over the whole ledger. */
  report(): Promise<LedgerReport>;
  /** Brings the database to this build's schema; safe to call from every host at every start. */
  migrate(): Promise<MigrationResult>;
  /**
   * Asks the database for a sign of life and for the ledger's tables.
   *
   * @throws LedgerError `unreachable` or `not_migrated`.
   */
  ping(): Promise<void>;
  /** Ends the ledger's own connections. */
  close(): Promise<void>;
}

/**
 * Opens a ledger. Nothing is connected before the first call.
 *
 * @throws LedgerError `invalid_database_url`.
 *
 * @example
 * const ledger = createLedger({ databaseUrl: env.DATABASE_URL });
 * await ledger.migrate();
 */
export function createLedger(options: LedgerOptions): Ledger {
  const logger = options.logger ?? silentLogger;
  const ownsPool = !("pool" in options);
  const pool = ownsPool
    ? openPool(options.databaseUrl, options.maxConnections ?? 10)
    : options.pool;
  if (ownsPool) {
    // An idle connection that the server cut is replaced at the next query.
    pool.on("error", (error) => logger.warn("ledger.connection_lost", { error: error.message }));
  }
  guardConnections(pool);
  const sql = toSqlClient(pool);
  const runs = createRunStore(sql);
  const rowSecurity = createRowSecurity(sql, () => logger.warn("ledger.row_security_off"));
  return {
    windows: createWindowStore(sql),
    guards: createGuardStore(sql),
    runs,
    jobs: createJobStore(sql),
    deadLetters: createDeadLetterStore(sql),
    schedules: createScheduleStore(sql),
    outbox: createOutboxStore(sql),
    reconcile: (request) => reconcile(sql, runs, request),
    prune: (request) => prune(sql, request),
    forTenant: (tenantId) => createTenantLedger(oneTenant(pool, rowSecurity, tenantId)),
    asOperator: (actor) => createOperatorLedger(sql, actor),
    receipt: (dispatchKey) => readReceipt(everyTenant(sql), dispatchKey),
    report: () => readReport(sql),
    migrate: () => migrate(pool, logger),
    ping: () => ping(pool),
    close: async () => {
      if (ownsPool && !pool.ended) await pool.end();
    },
  };
}

const guardedPools = new WeakSet<pg.Pool>();

/**
 * The pool gives a connection to its new holder a moment before that one can listen: an error in between, as when
 * the server cuts it, would end the process. The holder learns of the cut from its next statement. One listener
 * serves every ledger of the pool.
 */
function guardConnections(pool: pg.Pool): void {
  if (guardedPools.has(pool)) return;
  guardedPools.add(pool);
  pool.on("connect", (client) => client.on("error", () => {}));
}

async function ping(pool: pg.Pool): Promise<void> {
  const target = describeTarget(pool);
  const { rows } = await pool
    .query<{ migrated: boolean }>(
      `SELECT to_regclass('evenkeel.background_dispatch_window') IS NOT NULL AS migrated`,
    )
    .catch((cause: unknown) => {
      if (!isUnreachable(cause)) throw cause;
      throw new LedgerError(
        "unreachable",
        `No Postgres answers at ${target}. Start it, or set DATABASE_URL.`,
        { target },
        { cause },
      );
    });
  if (rows[0]?.migrated !== true) {
    throw new LedgerError(
      "not_migrated",
      `The database at ${target} has no Evenkeel tables. Call ledger.migrate(), or run "pnpm db:push".`,
      { target },
    );
  }
}
