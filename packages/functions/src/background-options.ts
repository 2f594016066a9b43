import type { Logger } from "@evenkeel/core";
import type {
  BackgroundConfig,
  Environment,
  ReconcilerOptions,
  Schedule,
} from "@evenkeel/dispatch";
import type { JobHandler, RunnerOptions } from "@evenkeel/jobs";
import type { Ledger, LedgerOptions, PrunerOptions } from "@evenkeel/ledger";
import type { Inngest, InngestFunction } from "inngest";

import type { BackgroundClientOptions } from "./background-client.ts";
import type { BackgroundFunctionsOptions } from "./background-functions.ts";

/** A pool of `pg`, on the database that holds the ledger. */
export type BackgroundPool = Extract<LedgerOptions, { readonly pool: unknown }>["pool"];

/** What a function that makes a part of the host is given. */
export interface BackgroundResources {
  readonly config: BackgroundConfig;
  readonly pool: BackgroundPool;
}

/** What the product's own functions work with. */
export interface FunctionResources {
  readonly ledger: Ledger;
  readonly logger: Logger;
}

/** Where the configuration comes from: parsed by the host, or from the host's environment at first use. */
export type ConfigSource =
  | {
      /** The configuration, or a function that returns it at first use. */
      readonly config: BackgroundConfig | (() => BackgroundConfig);
    }
  | {
      /**
       * The host's environment, as in `process.env`. It is parsed at first use; `DATABASE_URL` is required unless
       * `pool` is a pool.
       */
      readonly environment: Environment;
    };

/** What the maintenance function does beside its repairs, once per dispatched window. */
export interface MaintenanceSettings {
  /** Whether it sends what the outbox holds; defaults to `true`. `false` where a process runs the relay by `start()`. */
  readonly relay?: boolean;
  /** Whether it looks for windows that no tick asked for; defaults to `true`. `false` where `start()` does so. */
  readonly watchdog?: boolean;
  /**
   * Whether it deletes what is older than it is kept, or how; defaults to `false`, and the ledger keeps everything.
   * `true` takes the ledger's default ages.
   */
  readonly pruner?: boolean | Omit<PrunerOptions, "ledger" | "logger">;
}

/** How the process function and isolated jobs use their time. */
export type FunctionSettings = Pick<
  BackgroundFunctionsOptions,
  | "stepBudgetMs"
  | "hostTimeoutMs"
  | "idleTimeoutMs"
  | "runBudgetMs"
  | "maxContinuations"
  | "isolatedPerTenant"
  | "isolatedConcurrency"
>;

/** What the parts of a host are made from. */
export type BackgroundPartsOptions = ConfigSource &
  Pick<ReconcilerOptions, "neverStartedAfterMs" | "staleAfterMs"> &
  FunctionSettings &
  Pick<BackgroundClientOptions, "appId" | "appVersion" | "fetch"> & {
    /**
     * The product's pool, which stays the product's to end; or a function that makes one at first use, which
     * `close()` ends. Left out, one is opened on `DATABASE_URL` at first use. Lost connections are logged.
     */
    readonly pool?: BackgroundPool | ((config: BackgroundConfig) => BackgroundPool);
    /**
     * Most connections of the pool that is opened where `pool` is left out; defaults to 10. Each process
     * of a host has that many, and up to 3 for heartbeats while jobs run.
     */
    readonly maxConnections?: number;
    /** One handler per type of job, or a function that makes them at first use. Jobs of other types stay in the queue. */
    readonly handlers:
      | readonly JobHandler[]
      | ((resources: BackgroundResources) => readonly JobHandler[]);
    /**
     * Schedules beside `background-jobs`, for `cronOfSchedule` and the watchdog; none by default. One with the id
     * `background-jobs` replaces the usual one, whose windows last `config.windowSeconds` and whose newest missed
     * window is dispatched after all.
     */
    readonly schedules?: readonly Schedule[];
    /**
     * The product's own functions, made with the client so that their runs are recorded; none by default. `guarded`
     * takes the ledger and makes those that a window starts.
     */
    readonly functions?: (
      client: Inngest,
      resources: FunctionResources,
    ) => readonly InngestFunction.Any[];
    /** What the maintenance function does; defaults to relay and watchdog, without deletion. */
    readonly maintenance?: MaintenanceSettings;
    /** How the runner runs jobs; the runner's own defaults. */
    readonly runner?: Pick<
      RunnerOptions,
      "concurrency" | "singleTenant" | "batchSize" | "leaseMs" | "settleDelayMs"
    >;
    /**
     * The host's name, such as `web` or `worker`. With `BACKGROUND_JOBS_SERVE_FUNCTIONS` set to a name, that host alone
     * serves functions, and `inngest` of any other answers 404. None by default.
     */
    readonly hostName?: string;
    /** Where Inngest reaches this host; defaults to `config.inngest.serveOrigin`, or what its requests show. */
    readonly serveOrigin?: string;
    /** How long a handshake may take before it fails, in milliseconds; defaults to 10,000. */
    readonly handshakeTimeoutMs?: number;
    /** Whether the operator's inline switches work on this host; defaults to `true`. */
    readonly runsInline?: boolean;
    /**
     * Whether the first tick or call of Inngest brings the database to this build's schema, as `migrateAtStart()` does;
     * defaults to `false`. It is for hosts without a start of their own, and `MIGRATE=off` turns it off.
     */
    readonly migratesAtUse?: boolean;
    /** Names this host in the ledger, 1 to 200 characters; defaults to `<host name>:<process id>:<8 random digits>`. */
    readonly owner?: string;
    /** Ends drains gently when it aborts: no job starts any more, and those running may end. Never by default. */
    readonly stopSignal?: AbortSignal;
    /** Ends drains when it aborts: the signals of running jobs fire, and unfinished jobs are released. Never by default. */
    readonly signal?: AbortSignal;
    /** Decides windows, late ticks and cooldowns; defaults to the system's clock. */
    readonly clock?: { now(): Date };
    /** Where every part logs; defaults to the console. */
    readonly logger?: Logger;
  };
