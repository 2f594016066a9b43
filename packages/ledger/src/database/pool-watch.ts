import type { Logger } from "@evenkeel/core";
import type { Pool, PoolClient } from "pg";

interface Watch {
  /** One entry per ledger. */
  readonly ledgers: Set<{ readonly logger: Logger }>;
  /** Removes every listener. */
  readonly end: () => void;
}

const watches = new WeakMap<Pool, Watch>();
const connectedAt = new WeakMap<PoolClient, number>();

/** Returns when a connection of a watched pool was opened, by `performance.now()`; `undefined`: before the watch. */
export function connectedAtMs(client: PoolClient): number | undefined {
  return connectedAt.get(client);
}

/**
 * Listens to a pool, so that a connection that the server or the network cuts is logged and does not end the process.
 * An idle one raises `error` on the pool. One that is checked out raises it on itself, a moment before its holder can
 * listen; the holder learns of the cut from its next statement. One set of listeners serves every ledger of a pool.
 *
 * @returns What ends it: the last ledger's call removes the listeners.
 */
export function watchPool(pool: Pool, logger: Logger): () => void {
  const watch = watches.get(pool) ?? startWatch(pool);
  const ledger = { logger };
  watch.ledgers.add(ledger);
  return () => {
    watch.ledgers.delete(ledger);
    if (watch.ledgers.size > 0 || watches.get(pool) !== watch) return;
    watches.delete(pool);
    watch.end();
  };
}

function startWatch(pool: Pool): Watch {
  const ledgers: Watch["ledgers"] = new Set();
  const guarded = new Set<PoolClient>();
  const onError = (error: Error): void => {
    for (const { logger } of ledgers) {
      logger.warn("ledger.connection_lost", { error: error.message });
    }
  };
  const onConnect = (client: PoolClient): void => {
    connectedAt.set(client, performance.now());
    guarded.add(client);
    client.on("error", ignore);
  };
  const onRemove = (client: PoolClient): void => void guarded.delete(client);
  pool.on("error", onError);
  pool.on("connect", onConnect);
  pool.on("remove", onRemove);
  const end = (): void => {
    pool.off("error", onError);
    pool.off("connect", onConnect);
    pool.off("remove", onRemove);
    for (const client of guarded) client.off("error", ignore);
  };
  const watch = { ledgers, end };
  watches.set(pool, watch);
  return watch;
}

function ignore(): void {}
