import { defined } from "@evenkeel/core";
import {
  createHandshakeWatch,
  servesFunctions,
  type BackgroundConfig,
  type HandshakeWatch,
} from "@evenkeel/dispatch";
import type { Ledger } from "@evenkeel/ledger";

import type { BackgroundPartsOptions } from "../background-options.ts";
import { functionPolicies } from "../function-policy.ts";
import { createHostRegistrar, type HostRegistrar } from "./host-registrar.ts";
import { Observations } from "./observations.ts";
import { observeFetch } from "./observed-fetch.ts";
import { createServerLook } from "./server-view.ts";

/** What the handshake needs of a host's options. */
export interface HandshakeCompositionOptions extends Pick<
  BackgroundPartsOptions,
  "appId" | "appVersion" | "fetch" | "hostName" | "serveOrigin" | "handshakeTimeoutMs" | "logger"
> {
  readonly config: BackgroundConfig;
  readonly ledger: Ledger;
}

/** What a host has for the handshake. */
export interface HandshakeParts {
  readonly watch: HandshakeWatch;
  /** `undefined`: this host serves no functions, and registers nothing. */
  readonly registrar: HostRegistrar | undefined;
  /** The fetch of the SDK, which is listened to. */
  readonly fetch: typeof fetch;
}

/** The lane of a host that does not say another. */
const lane = "stable";

/** Makes the handshake's parts of a host. */
export function composeHandshake(options: HandshakeCompositionOptions): HandshakeParts {
  const { appId, config, ledger, logger } = options;
  const build = options.appVersion ?? "";
  const target = options.fetch ?? globalThis.fetch;
  const { maintenance, process } = functionPolicies({ concurrency: config.concurrency });
  const functionId = `${appId}-${maintenance.id}`;
  const observations = new Observations(options.serveOrigin ?? config.inngest.serveOrigin);
  const watch = createHandshakeWatch({
    ledger,
    appId,
    lane,
    build,
    environment: config.environment,
    functionId,
    limits: {
      [functionId]: maintenance.concurrency[0].limit,
      [`${appId}-${process.id}`]: process.concurrency[0].limit,
    },
    observed: () => observations.evidence(),
    look: createServerLook({ appId, config: config.inngest, fetch: target }),
    ...defined({ logger, failingAfterMs: options.handshakeTimeoutMs }),
  });
  const registrar = servesFunctions(config, options.hostName)
    ? createHostRegistrar({
        identity: { appId, lane, build, environment: config.environment },
        ledger,
        observations,
        watch,
        ...defined({ logger }),
      })
    : undefined;
  return { watch, registrar, fetch: observeFetch(target, observations) };
}
