import { once } from "node:events";
import { createServer } from "node:http";

import { isKind, type Kind } from "./jobs.ts";

/** The calls of one job. */
interface Calls {
  count: number;
  readonly keys: Set<string>;
}

/** The world outside: it counts calls, and honours idempotency keys as a payment service would. */
export interface Recorder {
  readonly url: string;
  /** By job. */
  readonly calls: Readonly<Record<Kind, ReadonlyMap<string, Readonly<Calls>>>>;
  /** What happened, by idempotency key: one effect each, whatever the number of calls. */
  readonly effects: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

const longestAnswerMs = 60;

/** Starts a {@link Recorder} on a free port of 127.0.0.1: `POST /<kind>/<job>/<key>`. */
export async function startRecorder(): Promise<Recorder> {
  const calls: Record<Kind, Map<string, Calls>> = {
    plain: new Map(),
    transaction: new Map(),
    retry: new Map(),
    park: new Map(),
    single: new Map(),
  };
  const effects = new Map<string, number>();
  const server = createServer((request, response) => {
    const [, kind = "", job = "", key = ""] = (request.url ?? "").split("/");
    if (!isKind(kind) || key === "") {
      response.writeHead(404).end();
      return;
    }
    const known = calls[kind].get(job) ?? { count: 0, keys: new Set<string>() };
    known.count += 1;
    known.keys.add(key);
    calls[kind].set(job, known);
    const effect = effects.get(key) ?? effects.size + 1;
    effects.set(key, effect);
    // It has happened, and the caller may die before it hears of it.
    setTimeout(() => response.end(String(effect)), Math.random() * longestAnswerMs);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    calls,
    effects,
    close: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
