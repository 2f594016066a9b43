import { defined, resolveLogger, type Logger } from "@evenkeel/core";
import type { BackgroundConfig } from "@evenkeel/dispatch";
import type { Ledger } from "@evenkeel/ledger";
import { Inngest } from "inngest";

import { RequestTime } from "./host-timeout.ts";
import { createRunRecorder } from "./runs/run-recorder.ts";
import { toSdkLogger } from "./sdk-logger.ts";
import { fetchWithSendSignal } from "./send-signal.ts";

/** What {@link createBackgroundClient} works with. */
export interface BackgroundClientOptions {
  /** The app's id in Inngest; part of every function's full id. */
  readonly appId: string;
  /** Keys and addresses: the field `inngest` of what `parseBackgroundConfig` returns. */
  readonly config: BackgroundConfig["inngest"];
  /** Where runs are recorded; absent: they are not recorded. */
  readonly ledger?: Pick<Ledger, "runs">;
  /** Names this host in the ledger. */
  readonly owner: string;
  /** The app's release, which Inngest shows beside its runs; none by default. */
  readonly appVersion?: string;
  /** Where the SDK's lines and failed records are logged; defaults to the console. */
  readonly logger?: Logger;
  /** Sends the SDK's requests; defaults to `globalThis.fetch`. */
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
  const logger = resolveLogger(options.logger);
  return new Inngest({
    id: options.appId,
    isDev: config.dev,
    logger: toSdkLogger(logger),
    fetch: fetchWithSendSignal(options.fetch ?? globalThis.fetch, logger),
    middleware: [
      RequestTime,
      ...(ledger === undefined ? [] : [createRunRecorder({ runs: ledger.runs, owner, logger })]),
    ],
    ...defined({
      baseUrl: config.devUrl ?? config.baseUrl,
      eventKey: config.eventKey,
      signingKey: config.signingKey,
      signingKeyFallback: config.signingKeyFallback,
      env: config.env,
      appVersion: options.appVersion,
    }),
  });
}
