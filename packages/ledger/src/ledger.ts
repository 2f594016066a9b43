import { resolveLogger, type Logger } from "@evenkeel/core";
import type pg from "pg";

import { createConnections, type Connections, type Patience } from "./database/connections.ts";
import { describeTarget, type SqlClient } from "./database/database.ts";
import { findGrantProblems, type GrantProblem } from "./database/grants.ts";
import { LedgerError } from "./database/ledger-error.ts";
import { migrate, type MigrationResult } from "./database/migrate.ts";
import { ping, pingPatience } from "./database/ping.ts";
import { watchPool } from "./database/pool-watch.ts";
import { openBeside, openPool } from "./database/pools.ts";
import { Readiness } from "./database/readiness.ts";
import { createRowSecurity, everyTenant, oneTenant } from "./database/tenant-scope.ts";
import { createDeadLetterStore, type DeadLetterStore } from "./dead-letters/dead-letter-store.ts";
import { createHandshakeStore, type HandshakeStore } from "./handshake/handshake-store.ts";
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

/** Where the ledger's database is, and how long it is waited for. */
export type LedgerOptions = {
  readonly logger?: Logger;
  /**
   * The environment whose ledger it has to be, 1 to 200 characters: `production`, `staging`. The first host marks the
   * ledger; every call of a host of another environment throws LedgerError `wrong_environment`. Absent: anybody's.
   */
  readonly environment?: string;
  /**
   * How long a call waits for a connection, in milliseconds: 100 to 600,000, 10,000 by default. It is the wait for a
   * free one of the pool, and for a new one to open.
   */
  readonly connectionTimeoutMs?: number;
  /**
   * How long a call waits for a statement, in milliseconds, the wait for its connection included: 100 to 3,600,000,
   * 30,000 by default. A connection that has not answered by then is closed, and the call throws LedgerError
   * `unanswered`. Heartbeats and settlements wait for 10,000 at most, a heartbeat for a quarter of its lease.
   * `migrate()` waits for ten minutes.
   */
  readonly statementTimeoutMs?: number;
  /**
   * Whether heartbeats, settlements and `ping()` have connections of their own, up to 4 beside the pool, to where the pool
   * leads and as its user. Defaults to `true`. They are opened when they are needed and closed after 10 s without work.
   * What a listener of the pool does to each connection, such as setting a role, is not done to these; the pool's
   * `onConnect` is.
   * `false`: they wait for one of the pool as everything else does, handlers included where the pool is the host's.
   */
  readonly reserveConnections?: boolean;
} & (
  | {
      readonly databaseUrl: string;
      /** Most connections of the ledger's own pool, 10 by default. */
      readonly maxConnections?: number;
    }
  | {
      /**
       * The host's pool. The ledger never closes it. It listens to the pool's errors until `close()`. Set its
       * `connectionTimeoutMillis`: without one, connections that never open fill the pool for good.
       */
      readonly pool: pg.Pool;
    }
);

/**
 * The durable record of background work. Before its first statement it looks whether this build can work on the database:
 * else calls throw LedgerError `not_migrated`, `not_granted`, `newer_database` or `wrong_environment`.
 */
export interface Ledger {
  readonly windows: WindowStore;
  readonly guards: GuardStore;
  readonly runs: RunStore;
  readonly jobs: JobStore;
  readonly deadLetters: DeadLetterStore;
  readonly schedules: ScheduleStore;
  readonly outbox: OutboxStore;
  readonly handshake: HandshakeStore;
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
  /**
   * Returns what keeps the database user from working, or from keeping tenants apart by row-level security, each with
   * the SQL that repairs it. Nothing is returned where all is well.
   *
   * @throws LedgerError `not_migrated`.
   */
  checkGrants(): Promise<GrantProblem[]>;
  /**
   * Brings the database to this build's schema; safe to call from every host at every start. A user that does not own
   * the schema may call it where nothing is pending. Newer migrations are left as they are, and logged once as
   * `ledger.newer_schema`.
   *
   * @throws LedgerError `newer_database` when a migration of the database is beyond this build, `wrong_environment`,
   * `migration_edited`, `migration_failed`, `unreachable`.
   */
  migrate(): Promise<MigrationResult>;
  /**
   * Asks the database whether this build can work on it: it responds, every migration of the build is applied, no newer one
   * is beyond it, and the ledger is of this environment. It has a connection of its own, which no job can take
   * (`reserveConnections`), and responds within 6 s.
   *
   * @throws LedgerError `unreachable`, `unanswered`, `not_migrated`, `not_granted`, `newer_database` or `wrong_environment`.
   */
  ping(): Promise<void>;
  /** Ends the ledger's own connections, and stops listening to a pool that is the host's. */
  close(): Promise<void>;
}

/**
 * Opens a ledger. Nothing is connected before the first call.
 *
 * @throws LedgerError `invalid_database_url` or `invalid_options`.
 *
 * @example
 * const ledger = createLedger({ databaseUrl: env.DATABASE_URL });
 * await ledger.migrate();
 */
export function createLedger(options: LedgerOptions): Ledger {
  checkSource(options);
  checkEnvironmentName(options.environment);
  const logger = resolveLogger(options.logger);
  const patience = readPatience(options);
  const ownsPool = !("pool" in options);
  const pool = ownsPool
    ? openPool(options.databaseUrl, {
        ...patience,
        maxConnections: options.maxConnections ?? 10,
      })
    : options.pool;
  const unwatch = watchPool(pool, logger);
  const connections = createConnections(pool, patience);
  const { environment } = options;
  const readiness = new Readiness({ connections, environment, logger });
  const sql = readiness.guard();
  const reserved =
    options.reserveConnections === false ? undefined : reserve(pool, patience, logger, connections);
  const runs = createRunStore(sql);
  const rowSecurity = createRowSecurity(sql, () => logger.warn("ledger.row_security_off"));
  return {
    windows: createWindowStore(sql),
    guards: createGuardStore(sql),
    runs,
    jobs: createJobStore(sql, reserved),
    deadLetters: createDeadLetterStore(sql),
    schedules: createScheduleStore(sql),
    outbox: createOutboxStore(sql),
    handshake: createHandshakeStore(sql),
    reconcile: (request) => reconcile(sql, runs, request),
    prune: (request) => prune(sql, request),
    forTenant: (tenantId) => createTenantLedger(oneTenant(sql, rowSecurity, tenantId)),
    asOperator: (actor) => createOperatorLedger(sql, actor, connections),
    receipt: (dispatchKey) => readReceipt(everyTenant(sql), dispatchKey),
    report: () => readReport(sql),
    checkGrants: () => findGrantProblems(connections),
    migrate: async () => {
      const result = await migrate(pool, logger, undefined, environment);
      // The first host to migrate marks the ledger.
      if (environment !== undefined) await readiness.check();
      return result;
    },
    ping: () => ping(readiness, reserved?.pings() ?? connections, describeTarget(pool)),
    close: async () => {
      await Promise.all([
        reserved?.close(),
        ownsPool && !pool.ended && !pool.ending ? pool.end() : undefined,
      ]);
      // A pool of the ledger's own has connections that end later, and may be cut until then.
      if (!ownsPool) unwatch();
    },
  };
}

/** Options come from a host's environment and imports, where either may be missing. */
function checkSource(options: unknown): void {
  const given = typeof options === "object" && options !== null ? options : {};
  const pool: unknown = Reflect.get(given, "pool");
  if ("databaseUrl" in given && !("pool" in given)) return;
  if (typeof pool === "object" && pool !== null && "connect" in pool) return;
  throw new LedgerError(
    "invalid_options",
    `createLedger takes { databaseUrl } or { pool }, a pool of pg; got ${"pool" in given ? "a pool that is none" : "neither"}.`,
    { field: "pool" },
  );
}

function checkEnvironmentName(environment: string | undefined): void {
  if (environment === undefined || (environment.length > 0 && environment.length <= 200)) return;
  throw new LedgerError("invalid_options", "environment must have 1 to 200 characters.", {
    field: "environment",
  });
}

function readPatience({
  connectionTimeoutMs = 10_000,
  statementTimeoutMs = 30_000,
}: LedgerOptions): Patience {
  checkTimeout("connectionTimeoutMs", connectionTimeoutMs, 600_000);
  checkTimeout("statementTimeoutMs", statementTimeoutMs, 3_600_000);
  return { connectionTimeoutMs, statementTimeoutMs };
}

function checkTimeout(field: string, value: number, max: number): void {
  if (Number.isInteger(value) && value >= 100 && value <= max) return;
  throw new LedgerError(
    "invalid_options",
    `${field} must be a whole number from 100 to ${max}; got ${value}.`,
    { field, value },
  );
}

/** The longest that a heartbeat or a settlement is waited for, in milliseconds: a third of a lease. */
const longestReservedMs = 10_000;

/**
 * Connections that nothing but heartbeats, nothing but settlements, and nothing but pings can take. What comes after
 * `close` goes to the pool, which may be a host's that still works.
 */
function reserve(pool: pg.Pool, patience: Patience, logger: Logger, shared: Connections) {
  const limits: Patience = {
    connectionTimeoutMs: Math.min(patience.connectionTimeoutMs, longestReservedMs / 2),
    statementTimeoutMs: Math.min(patience.statementTimeoutMs, longestReservedMs),
  };
  const closers: (() => Promise<void>)[] = [];
  const openOwn = (bounds: Patience, maxConnections: number): pg.Pool => {
    const own = openBeside(pool, { ...bounds, maxConnections });
    watchPool(own, logger);
    closers.push(async () => {
      if (!own.ended && !own.ending) await own.end();
    });
    return own;
  };
  const openReserved = (maxConnections: number): SqlClient => {
    const own = openOwn(limits, maxConnections);
    const connections = createConnections(own, limits);
    return {
      query: async (text, values, timeoutMs) =>
        (own.ending ? shared : connections).query(text, values, timeoutMs),
    };
  };
  const ownPing = openOwn(pingPatience, 1);
  const pings = createConnections(ownPing, pingPatience);
  return {
    heartbeats: openReserved(1),
    settlements: openReserved(2),
    pings: () => (ownPing.ending || pool.ending ? shared : pings),
    close: () => Promise.all(closers.map(async (close) => close())),
  };
}
