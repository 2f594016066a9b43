import { describeMessage, resolveLogger, type Logger } from "@evenkeel/core";
import type { Ledger } from "@evenkeel/ledger";

import { authenticate, Refusals } from "./cron-authentication.ts";
import { jsonResponse, lastSegment } from "./json-response.ts";

/** What a receipt handler works with. */
export interface ReceiptHandlerOptions {
  readonly ledger: Pick<Ledger, "receipt"> & {
    readonly windows?: Pick<Ledger["windows"], "wasIdle">;
  };
  /**
   * Secrets that authenticate a reader, the current one first; an empty list closes the endpoint with 503. Receipts are
   * of all tenants: a scheduler's secret is none of these.
   */
  readonly receiptsSecrets: readonly string[];
  /** Paces the lines about refused requests; defaults to the system's clock. */
  readonly clock?: { now(): Date };
  /** Where failures are logged; defaults to the console. */
  readonly logger?: Logger;
}

/**
 * Creates the route that tells what became of a tick: GET with `Authorization: Bearer <RECEIPTS_SECRET>`, and the
 * dispatch key as the last segment of the path, percent-encoded (`/api/cron/receipts/[dispatchKey]`). 200 with the
 * receipt, or with `progress: "idle"` for a tick that found nothing to do; 404 when no such window is on record, 503 when
 * the ledger is unavailable.
 */
export function createReceiptHandler({
  ledger,
  receiptsSecrets,
  clock = { now: () => new Date() },
  logger: given,
}: ReceiptHandlerOptions): (request: Request) => Promise<Response> {
  const logger = resolveLogger(given);
  const refusals = new Refusals({ route: "receipt", logger, clock });
  return async (request) => {
    if (request.method !== "GET") {
      return jsonResponse(405, { error: "method_not_allowed" }, { allow: "GET" });
    }
    const authorization = request.headers.get("authorization");
    const authentication = authenticate(authorization, receiptsSecrets);
    if (authentication === "closed") {
      refusals.close("RECEIPTS_SECRET");
      return jsonResponse(503, { error: "not_configured" });
    }
    if (authentication === "refused") return refusals.refuse(authorization);
    const dispatchKey = readKey(request);
    if (dispatchKey === undefined) return jsonResponse(404, { error: "not_found" });
    try {
      const receipt = await ledger.receipt(dispatchKey);
      if (receipt !== undefined) return jsonResponse(200, receipt);
      return (await ledger.windows?.wasIdle(dispatchKey)) === true
        ? jsonResponse(200, { progress: "idle", dispatchKey, runs: [] })
        : jsonResponse(404, { error: "not_found" });
    } catch (error) {
      logger.error("receipt.failed", { error: describeMessage(error) });
      return jsonResponse(503, { error: "ledger_unavailable" }, { "retry-after": "5" });
    }
  };
}

function readKey(request: Request): string | undefined {
  const segment = lastSegment(request);
  try {
    return segment === undefined ? undefined : decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}
