import { defined, describeMessage, silentLogger, withDeadline, type Logger } from "@evenkeel/core";
import type { HandshakeWatch } from "@evenkeel/dispatch";
import { redactError, type HostIdentity, type Ledger } from "@evenkeel/ledger";

import type { Observations, ServedCall } from "./observations.ts";

/** What a registrar works with. */
export interface HostRegistrarOptions {
  readonly ledger: Pick<Ledger, "handshake">;
  /** What the host serves as; its address and its SDK are what was observed. */
  readonly identity: Omit<HostIdentity, "serveUrl" | "sdk">;
  readonly observations: Observations;
  readonly watch: HandshakeWatch;
  /** Where `hosts.second_address` is logged; silent by default. */
  readonly logger?: Logger;
}

/** Registers a host that serves functions, under a lease. It never rejects. */
export interface HostRegistrar {
  /** Registers at once, and keeps the lease of a process that calls again within 20 s. */
  renew(): Promise<void>;
  /** Takes note of an answered request, and registers where the last time was long ago or something changed. */
  served(call: ServedCall): Promise<void>;
}

/** How often a process that stays renews its lease, in milliseconds. */
export const renewEveryMs: number = 20_000;

/** How long a lease is good for, in milliseconds: of a process that stays, and of one that lives from call to call. */
const stayingLeaseMs = 60_000;
const passingLeaseMs = 3_600_000;

/** How often at most what changed is written, in milliseconds: refused calls may be many. */
const changedEveryMs = 1_000;

const timeoutMs = 2_000;

/** Creates the registrar of a host. */
export function createHostRegistrar(options: HostRegistrarOptions): HostRegistrar {
  const { ledger, identity, observations, watch } = options;
  const logger = options.logger ?? silentLogger;
  const named = new Set<string>();
  let lastAtMs = Number.NEGATIVE_INFINITY;
  let lastState = "";

  async function register(leaseMs: number): Promise<void> {
    lastAtMs = performance.now();
    const { serveUrl, sdk } = observations;
    const registration = {
      ...identity,
      serveUrl,
      sdk,
      leaseMs,
      now: new Date(),
      ...observations.forLedger(),
    };
    try {
      const others = await withDeadline(timeoutMs, () =>
        ledger.handshake.registerHost(registration),
      );
      watch.ledgerWrote();
      observations.noteOthers(others);
      for (const other of others) {
        if (named.has(other)) continue;
        const { appId, environment } = identity;
        logger.error("hosts.second_address", { appId, environment, serveUrl, other });
      }
      named.clear();
      for (const other of others) named.add(other);
    } catch (error) {
      watch.ledgerFailed(error);
      logger.warn("hosts.not_registered", { error: redactError(describeMessage(error)) });
    }
  }

  return {
    renew: () => register(stayingLeaseMs),
    served: async (call) => {
      const seen = observations.noteServed(call);
      if (seen === undefined && observations.serveUrl === "") return;
      const state = JSON.stringify(defined({ seen, url: observations.serveUrl }));
      const sinceMs = performance.now() - lastAtMs;
      if (sinceMs > (state === lastState ? renewEveryMs : changedEveryMs)) {
        lastState = state;
        await register(passingLeaseMs);
      } else if (state !== lastState) {
        lastState = state;
        // What changed just after a registration follows it, where the process still is.
        setTimeout(() => void register(passingLeaseMs), changedEveryMs).unref();
      }
    },
  };
}
