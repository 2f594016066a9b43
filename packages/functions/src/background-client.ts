import { silentLogger, type Logger } from "@evenkeel/core";
import type { BackgroundConfig } from "@evenkeel/dispatch";
import type { Ledger } from "@evenkeel/ledger";
import { Inngest } from "inngest";

import { createRunRecorder } from "./run-recorder.ts";
import { toSdkLogger } from "./sdk-logger.ts";
import { fetchWithSendSignal } from "./send-signal.ts";

/** What {@link createBackgroundClient} works with. */
export interface BackgroundClientOptions {
  /** The app's id in Inngest; part of every function's full id. */
  readonly appId: string;
  /** The Inngest part of `parseBackgroundConfig`'s answer. */
  readonly config: BackgroundConfig["inngest"];
  /** Where runs are recorded; absent: they are not. */
  readonly ledger?: Pick<Ledger, "runs">;
  /** Names this host in the ledger. */
  readonly owner: string;
  /** The app's release, shown by Inngest beside its runs. */
  readonly appVersion?: string;
  readonly logger?: Logger;
  /** `globalThis.fetch` by default. */
  readonly fetch?: typeof fetch;
}

/**
 * Creates the Inngest client that sends dispatches and serves the functions. Every function made with it
 * has its runs recorded, a product's own functions too.
 *
 * @example
 * const client = createBackgroundClient({ appId: "shop", config: config.inngest, ledger, owner });
 */
export function createBackgroundClient(options: BackgroundClientOptions): Inngest {
  const { config, ledger, owner } = options;
  const logger = options.logger ?? silentLogger;
  const baseUrl = config.devUrl ?? config.baseUrl;
  return new Inngest({
    id: options.appId,
    isDev: config.dev,
    logger: toSdkLogger(logger),
    fetch: fetchWithSendSignal(options.fetch ?? globalThis.fetch),
    middleware:
      ledger === undefined ? [] : [createRunRecorder({ runs: ledger.runs, owner, logger })],
    ...(baseUrl === undefined ? {} : { baseUrl }),
    ...(config.eventKey === undefined ? {} : { eventKey: config.eventKey }),
    ...(config.signingKey === undefined ? {} : { signingKey: config.signingKey }),
    ...(config.env === undefined ? {} : { env: config.env }),
    ...(options.appVersion === undefined ? {} : { appVersion: options.appVersion }),
  });
}
