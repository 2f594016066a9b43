import { DeadlineExceededError, withDeadline } from "@evenkeel/core";

import type { Connections, Patience } from "./connections.ts";
import { isUnreachable, LedgerError } from "./ledger-error.ts";
import type { Readiness } from "./readiness.ts";

/** How long a ping waits for its connection, and for each of its statements, in milliseconds. */
export const pingPatience: Patience = { connectionTimeoutMs: 2_000, statementTimeoutMs: 2_000 };

/** How long a ping takes at most, in milliseconds: load balancers ask every few seconds. */
const pingDeadlineMs = 6_000;

/** Asks whether the ledger can be worked on; see `Ledger.ping`. */
export async function ping(
  readiness: Readiness,
  connections: Connections,
  target: string,
): Promise<void> {
  try {
    await withDeadline(pingDeadlineMs, () => readiness.check(connections));
  } catch (cause) {
    const isLate = cause instanceof DeadlineExceededError;
    if (!isLate && !isUnreachable(cause)) throw cause;
    throw new LedgerError(
      "unreachable",
      `No Postgres answers at ${target}. Start it, or set DATABASE_URL.`,
      { target },
      { cause },
    );
  }
}
