import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

import { Pool } from "pg";

/** A network between a host and its Postgres that can fall silent without closing a connection. */
export interface SilentProxy extends AsyncDisposable {
  /** The given connection string, by way of the proxy. */
  readonly url: string;
  /** A host's pool by way of the proxy, which the proxy's end ends. A new connection is awaited for 2 s by default. */
  connect(maxConnections?: number, connectionTimeoutMs?: number): Pool;
  /** From now on nothing is forwarded in either direction. New connections are accepted and never answered. */
  fallSilent(): void;
  /** New connections are forwarded again. Those that there are stay silent. */
  restoreNew(): void;
  /** Everything is forwarded again, and what was held back first. */
  restore(): void;
  /** Cuts the connections that there are. New ones are forwarded as before. */
  cut(): void;
  /** Closes every connection. */
  close(): Promise<void>;
}

/** Starts a {@link SilentProxy} before a Postgres on this machine. */
export async function startSilentProxy(databaseUrl: string): Promise<SilentProxy> {
  const target = new URL(databaseUrl);
  const pairs = new Set<Pair>();
  const pools: Pool[] = [];
  let isSilent = false;
  const server = createServer({ allowHalfOpen: true }, (downstream) => {
    const pair = new Pair(downstream, target, isSilent);
    pairs.add(pair);
    downstream.once("close", () => pairs.delete(pair));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${address !== null && typeof address === "object" ? address.port : 0}`;
  const close = async (): Promise<void> => {
    for (const pair of pairs) pair.destroy();
    for (const pool of pools) {
      // Its connections have just been cut.
      pool.on("error", () => {});
      await pool.end();
    }
    const closed = once(server, "close");
    server.close();
    await closed;
  };
  return {
    url: url.href,
    connect: (max = 4, connectionTimeoutMillis = 2_000) => {
      const pool = new Pool({ connectionString: url.href, max, connectionTimeoutMillis });
      pools.push(pool);
      return pool;
    },
    fallSilent: () => {
      isSilent = true;
      for (const pair of pairs) pair.hush();
    },
    restoreNew: () => {
      isSilent = false;
    },
    restore: () => {
      isSilent = false;
      for (const pair of pairs) pair.forward();
    },
    cut: () => {
      for (const pair of pairs) pair.destroy();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** One connection through the proxy. */
class Pair {
  readonly #downstream: Socket;
  readonly #target: URL;
  #upstream: Socket | undefined;

  constructor(downstream: Socket, target: URL, isSilent: boolean) {
    this.#downstream = downstream;
    this.#target = target;
    // The host gives up on a connection by closing it; the server then learns of it where the network lets it.
    downstream.on("error", () => {}).once("close", () => this.#upstream?.destroy());
    if (isSilent) downstream.pause();
    else this.forward();
  }

  forward(): void {
    if (this.#upstream === undefined) {
      const { hostname, port } = this.#target;
      const upstream = connect(Number(port), hostname);
      upstream.on("error", () => {}).once("close", () => this.#downstream.destroy());
      this.#upstream = upstream;
    }
    this.#downstream.pipe(this.#upstream);
    this.#upstream.pipe(this.#downstream);
  }

  hush(): void {
    this.#downstream.unpipe().pause();
    this.#upstream?.unpipe().pause();
  }

  destroy(): void {
    this.#downstream.destroy();
    this.#upstream?.destroy();
  }
}
