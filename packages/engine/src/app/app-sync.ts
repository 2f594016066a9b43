import type { Journal } from "../journal.ts";
import { isObject, parseJson } from "../json.ts";
import { signBody } from "../transport/signature.ts";
import { type AppResponse, type Transport, TransportError } from "../transport/transport.ts";
import type { AppRegistry } from "./app-registry.ts";
import { FunctionRefusedError } from "./function-config.ts";
import { readRegistration } from "./registration.ts";

/** Syncs apps from the engine's side. */
export interface AppSync {
  /** Asks an app for its functions once; returns what went wrong, if anything. */
  sync(url: string): Promise<string | undefined>;
  /** Syncs again and again until `stop`: until the app is up, and whenever it has changed. */
  watch(url: string): void;
  stop(): void;
}

const syncTimeoutMs = 10_000;

/** Creates an {@link AppSync}. `sleep` waits in the machine's time and can be broken off. */
export function createAppSync(deps: {
  transport: Transport;
  registry: AppRegistry;
  journal: Journal;
  signingKey: string | undefined;
  machineNow: () => number;
  pollMs: number;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}): AppSync {
  const { transport, registry, journal, signingKey, machineNow, pollMs } = deps;
  const problems = new Map<string, string>();
  const stopping = new AbortController();

  async function ask(url: string): Promise<AppResponse> {
    const body = { url };
    return transport.send({
      method: "PUT",
      url,
      headers: {
        "content-type": "application/json",
        "x-inngest-server-kind": "dev",
        "x-inngest-sync-kind": "in_band",
        ...(signingKey === undefined
          ? {}
          : { "x-inngest-signature": signBody(body, signingKey, machineNow()) }),
      },
      body: JSON.stringify(body),
      timeoutMs: syncTimeoutMs,
    });
  }

  function takeIn(url: string, response: AppResponse): string | undefined {
    const body = parseJson(response.body);
    if (response.status !== 200) {
      const message = isObject(body) ? (body["message"] ?? body["error"]) : undefined;
      return `answered HTTP ${response.status}${typeof message === "string" ? `: ${message}` : ""}`;
    }
    // Out of band, the app has registered by itself.
    if (response.headers.get("x-inngest-sync-kind") !== "in_band") {
      return isObject(body) && "message" in body
        ? undefined
        : "did not answer as an Inngest serve endpoint";
    }
    const registration = readRegistration(body);
    if (registration === undefined) return "answered an unreadable registration";
    try {
      const { app, modified } = registry.register(registration);
      if (modified) {
        journal.record("info", "app.synced", {
          app: app.name,
          url,
          functions: app.functions.length,
        });
      }
      return undefined;
    } catch (error) {
      if (error instanceof FunctionRefusedError)
        return `registered an invalid function: ${error.message}`;
      throw error;
    }
  }

  async function sync(url: string): Promise<string | undefined> {
    let problem: string | undefined;
    try {
      problem = takeIn(url, await ask(url));
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
      problem = error.message;
    }
    if (problem !== undefined && problem !== problems.get(url)) {
      journal.record("warn", "app.unreachable", { url, reason: problem });
    }
    if (problem !== undefined) problems.set(url, problem);
    else if (problems.delete(url)) journal.record("info", "app.reachable", { url });
    return problem;
  }

  return {
    sync,
    watch(url) {
      const run = async () => {
        while (!stopping.signal.aborted) {
          const problem = await sync(url);
          if (problem === undefined && pollMs === Number.POSITIVE_INFINITY) return;
          await deps.sleep(
            problem === undefined ? pollMs : Math.min(pollMs, 1_000),
            stopping.signal,
          );
        }
      };
      run().catch((error: unknown) => {
        journal.record("error", "engine.fault", { url, error: String(error) });
      });
    },
    stop: () => stopping.abort(),
  };
}
