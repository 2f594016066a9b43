import { describeMessage, resolveLogger } from "@evenkeel/core";
import type { Nudge } from "@evenkeel/dispatch";
import { redactError, type MigrationResult } from "@evenkeel/ledger";
import type { Inngest, InngestFunction } from "inngest";

import type { BackgroundPartsOptions } from "./background-options.ts";
import { composeParts, type BackgroundParts } from "./background-parts.ts";
import { createRoutes, type BackgroundRoutes, type RoutedHandlers } from "./background-routes.ts";
import { renewEveryMs } from "./handshake/host-registrar.ts";
import { observeServe, refuseToServe } from "./handshake/observed-serve.ts";
import { HandshakeResend, resendLookMs } from "./handshake/resend.ts";
import { repeat, type Repetition } from "./repeat.ts";
import { StartMigration } from "./start-migration.ts";

/** What a host serves to Inngest. */
export interface ServedFunctions {
  readonly client: Inngest;
  readonly functions: readonly InngestFunction.Any[];
}

/** What {@link createBackground} works with. */
export type BackgroundOptions<Args extends unknown[], Result> = BackgroundPartsOptions & {
  /** Inngest's `serve` for the host's framework: of `inngest/next`, `inngest/node`, `inngest/edge`. */
  readonly serve: (served: ServedFunctions) => (...args: Args) => Result;
};

/** What `start` begins. */
export interface StartOptions {
  /** Whether it looks every minute for windows that no tick asked for; defaults to `true`. */
  readonly watchdog?: boolean;
}

/** A product's background work: the routes of its host, and what a process calls beside them. */
export interface Background<Args extends unknown[], Result> {
  /** The route `/api/cron/background-jobs`: dispatches the window of a tick. GET and POST, with the cron secret. */
  readonly cron: (request: Request) => Promise<Response>;
  /** The route `/api/cron/[schedule]`: dispatches the schedule that the last segment of the path names. */
  readonly cronOfSchedule: (request: Request) => Promise<Response>;
  /** The route `/api/cron/receipts/[dispatchKey]`: returns what became of a tick. GET, with `RECEIPTS_SECRET`. */
  readonly receipts: (request: Request) => Promise<Response>;
  /**
   * The route `/api/inngest`: what `serve` returned, for GET, POST and PUT. 404 with the reason on a host that serves no
   * functions by `BACKGROUND_JOBS_SERVE_FUNCTIONS`.
   */
  readonly inngest: (...args: Args) => Result;
  /**
   * All of these routes in one, for a catch-all such as `app/api/[...background]/route.ts`: `/cron/background-jobs`,
   * `/cron/[schedule]`, `/cron/receipts/[dispatchKey]` and `/inngest` under wherever it is; 404 for other paths. It
   * is for frameworks whose requests are web standards: Next, Hono, SvelteKit, edge runtimes.
   */
  readonly routes: BackgroundRoutes<Args, Result>;
  /** Asks for a dispatch at once, after the transaction that enqueued has committed. It never rejects. */
  readonly nudge: Nudge;
  /**
   * Returns every part, for what has no method here. The first call makes them; later ones return the same.
   *
   * @throws DispatchError `invalid_configuration` with every wrong variable; JobError or LedgerError for
   * options out of range. The next call tries again.
   */
  readonly parts: () => BackgroundParts;
  /** Brings the database to this build's schema; safe to call from every host at every start. */
  readonly migrate: () => Promise<MigrationResult>;
  /**
   * Begins `migrate()`, unless `MIGRATE` is `off`, and returns at once. It never throws: for a start that has to go on
   * without its database, such as Next's `instrumentation.ts`, where an error would end every page. A failure is logged
   * as `background.not_migrated`, and every tick and every call of Inngest tries again until it has succeeded. Ticks
   * return `ledger-not-ready` meanwhile. Next keeps another instance of each module for its routes: set `migratesAtUse`
   * for those.
   */
  readonly migrateAtStart: () => void;
  /**
   * Begins the outbox's relay and the watchdog, in a process that stays, registers the host where it serves functions,
   * sends a handshake, and looks every few seconds whether it comes back. Repeated calls change nothing, and so does
   * one after `close()`.
   */
  readonly start: (options?: StartOptions) => void;
  /**
   * Ends what `start` began, waits for the send under way, and closes the ledger and the pool made here. It does not
   * wait for drains: end them before by `stopSignal`, or their jobs stay claimed until their leases expire.
   * A pool made here ends when handlers have given back its connections: those that hang are waited for.
   */
  readonly close: () => Promise<void>;
}

/** The pause between two looks at the handshake, in milliseconds. */
const handshakePauseMs = 5_000;

/** The pause between two looks of the watchdog, in milliseconds. */
const watchPauseMs = 60_000;

/**
 * Composes a product's background work: ledger, client, dispatcher, reconciler, relay, watchdog, pruner,
 * runner and functions. They are made together at the first use of any, and once. Before that nothing is
 * parsed or opened, so a module may create it at import, where a build has no environment.
 *
 * @example
 * export const background = createBackground({
 *   appId: "shop",
 *   environment: process.env,
 *   handlers: [sendInvoices],
 *   serve,
 * });
 */
export function createBackground<Args extends unknown[], Result>(
  options: BackgroundOptions<Args, Result>,
): Background<Args, Result> {
  const { migratesAtUse = false } = options;
  const logger = resolveLogger(options.logger);
  const composed = new Lazy(() => composeParts(options));
  const parts = (): BackgroundParts => composed.get();
  const handler = new Lazy(() => {
    const { client, functions, registrar } = parts();
    if (registrar === undefined) {
      const refuse: unknown = refuseToServe;
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- frameworks take a Response; Node's is ended
      return refuse as (...args: Args) => Result;
    }
    return observeServe(options.serve({ client, functions }), (call) => registrar.served(call));
  });
  const migrate = async (): Promise<MigrationResult> => parts().ledger.migrate();
  const migrateUnlessOff = async (): Promise<void> => {
    if (parts().config.migrate !== "off") await migrate();
  };
  const startMigration = new StartMigration(migrateUnlessOff, migratesAtUse, logger);
  let running: Repetition[] | undefined;
  let firstHandshake: Promise<unknown> | undefined;
  let hasClosed = false;
  let closing: Promise<void> | undefined;

  async function close({ ledger, pool, ownsPool }: BackgroundParts): Promise<void> {
    await Promise.all([firstHandshake, ...(running ?? []).map((repetition) => repetition.stop())]);
    await ledger.close();
    if (ownsPool) await pool.end();
  }

  const handlers: RoutedHandlers<Args, Result> = {
    cron: async (request) => {
      await startMigration.retryAndWait();
      return parts().cron(request);
    },
    cronOfSchedule: async (request) => {
      await startMigration.retryAndWait();
      return parts().cronOfSchedule(request);
    },
    receipts: async (request) => parts().receipts(request),
    inngest: (...args) => {
      startMigration.retry();
      return handler.get()(...args);
    },
  };
  return {
    ...handlers,
    routes: createRoutes(handlers),
    nudge: async () => {
      let nudge: Nudge;
      try {
        ({ nudge } = parts());
      } catch (cause) {
        const error = redactError(describeMessage(cause));
        logger.warn("nudge.failed", { error });
        return { outcome: "failed", error };
      }
      return nudge();
    },
    parts,
    migrate,
    migrateAtStart: () => startMigration.begin(),
    start: ({ watchdog: watches = true } = {}) => {
      if (running !== undefined || hasClosed) return;
      const { relay, watchdog, registrar, handshake, startHandshake } = parts();
      running = [relay.start()];
      // What these cannot do now the next look does; the handshake's own log says what fails.
      const quietly = (pauseMs: number, task: () => Promise<unknown>): Repetition =>
        repeat(pauseMs, task, () => {});
      if (registrar !== undefined) running.push(quietly(renewEveryMs, () => registrar.renew()));
      firstHandshake = startHandshake();
      const resend = new HandshakeResend(
        () => typeof handshake.latest()?.failingSince === "string",
        startHandshake,
      );
      running.push(
        quietly(handshakePauseMs, () => handshake.report()),
        quietly(resendLookMs, () => resend.look()),
      );
      if (!watches) return;
      // On a timer of its own: maintenance runs only when ticks come, and this looks for those that did not.
      const onError = (error: unknown): void =>
        logger.warn("background.watch_failed", { error: describeMessage(error) });
      running.push(repeat(watchPauseMs, () => watchdog.run(), onError));
    },
    close: async () => {
      hasClosed = true;
      // What a request under way makes after this is closed by the next call.
      if (composed.made !== undefined) closing ??= close(composed.made);
      await closing;
    },
  };
}

/** A value that is made at its first use and kept. A failure is not kept: the next use tries again. */
class Lazy<Value extends object> {
  readonly #make: () => Value;
  #made: Value | undefined;

  constructor(make: () => Value) {
    this.#make = make;
  }

  /** The value, if it has been made. */
  get made(): Value | undefined {
    return this.#made;
  }

  get(): Value {
    this.#made ??= this.#make();
    return this.#made;
  }
}
