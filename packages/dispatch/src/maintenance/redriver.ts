import { setTimeout as sleep } from "node:timers/promises";

import { defined, resolveLogger, type Logger } from "@evenkeel/core";
import type { JobHandler } from "@evenkeel/jobs";
import type { DeadLetterFilter, DeadLetterRecord, Ledger, RequeueItem } from "@evenkeel/ledger";

import { DispatchError } from "../dispatch-error.ts";

/** What a redriver works with. */
export interface RedriverOptions {
  readonly ledger: Pick<Ledger, "asOperator">;
  /** The jobs that this build knows: a job's payload is checked against today's schema first. */
  readonly handlers: readonly Pick<JobHandler, "definition" | "prepare">[];
  /** Where progress is logged; defaults to the console. */
  readonly logger?: Logger;
}

/** What is to be requeued. */
export interface RedriveRequest {
  /** Who asks; it is audited. */
  readonly actor: string;
  /** Open letters that match all of it; `{ ids }` for single ones. */
  readonly filter: Omit<DeadLetterFilter, "status">;
  /** Whether it only says what would be done; defaults to `false`. */
  readonly dryRun?: boolean;
  /** Most letters in a second, more than 0; defaults to 50. */
  readonly perSecond?: number;
  /** Most letters in this call; defaults to 1,000. */
  readonly limit?: number;
  /** Why; it is audited. */
  readonly reason?: string;
  /** Cancels the call: what was requeued stays so, the rest stays open. */
  readonly signal?: AbortSignal;
}

/** What a redrive did. */
export interface RedriveReport {
  /** Letters looked at. */
  readonly selected: number;
  /** Letters requeued; in a dry run, letters that could be. */
  readonly requeued: number;
  /** Letters that stay open, and why. */
  readonly refused: readonly {
    readonly id: string;
    readonly name: string;
    readonly reason: string;
  }[];
  readonly cancelled: boolean;
}

/** Requeues dead letters. */
export interface Redriver {
  /**
   * Requeues the open letters that match, page by page, at most `perSecond` of them.
   *
   * @throws LedgerError `invalid_actor`; DispatchError `invalid_params` when `perSecond` is not more than 0.
   */
  redrive(request: RedriveRequest): Promise<RedriveReport>;
}

const pageSize = 100;
const notRequeued =
  "it is no longer open, its work is queued already, or a newer build wrote its payload";

/**
 * Creates a redriver. A job is enqueued anew with fresh attempts, a run's event is sent again by the outbox's
 * relay, a window is dispatched by the reconciler. What dies again gets a letter that names the first.
 *
 * @example
 * const report = await createRedriver({ ledger, handlers }).redrive({
 *   actor: "ada@example.com",
 *   filter: { name: "invoice.send", reason: "exhausted" },
 *   reason: "the provider is back",
 * });
 */
export function createRedriver(options: RedriverOptions): Redriver {
  const logger = resolveLogger(options.logger);
  const handlers = new Map(options.handlers.map((handler) => [handler.definition.type, handler]));

  function prepare(letter: DeadLetterRecord): RequeueItem | { readonly refusal: string } {
    if (letter.kind !== "JOB") {
      const isSendable = letter.kind !== "RUN" || isEvent(letter.payload);
      return isSendable
        ? { id: letter.id }
        : { refusal: "the letter holds no event to send again" };
    }
    const handler = handlers.get(letter.name);
    if (handler === undefined) return { refusal: "this build knows no job of this type" };
    const prepared = handler.prepare(letter.payload, letter.version ?? undefined);
    if (!prepared.ok) {
      return { refusal: `the payload does not match the schema: ${prepared.issues.join("; ")}` };
    }
    const { version, retry } = handler.definition;
    const payload = JSON.stringify(prepared.stored);
    return { id: letter.id, job: { payload, version, maxAttempts: retry.maxAttempts } };
  }

  return {
    redrive: async (request) => {
      const { actor, dryRun = false, perSecond = 50, limit = 1_000, signal } = request;
      if (!(perSecond > 0 && Number.isFinite(perSecond))) {
        throw new DispatchError("invalid_params", "A redrive's perSecond must be more than 0.");
      }
      const { deadLetters } = options.ledger.asOperator(actor);
      const filter = { ...request.filter, status: "OPEN" as const };
      const refused: RedriveReport["refused"][number][] = [];
      let [selected, requeued, before] = [0, 0, undefined as string | undefined];
      const isCancelled = (): boolean => signal?.aborted === true;
      while (selected < limit && !isCancelled()) {
        const letters = await deadLetters.list({
          ...filter,
          limit: Math.min(pageSize, limit - selected, Math.max(1, Math.floor(perSecond))),
          ...defined({ before }),
        });
        if (letters.length === 0) break;
        before = letters.at(-1)?.id;
        selected += letters.length;
        const items: RequeueItem[] = [];
        for (const letter of letters) {
          const item = prepare(letter);
          if ("id" in item) items.push(item);
          else refused.push({ id: letter.id, name: letter.name, reason: item.refusal });
        }
        if (dryRun) {
          requeued += items.length;
          continue;
        }
        const done = new Set(await deadLetters.requeue(items, request.reason));
        requeued += done.size;
        for (const { id } of items) {
          if (done.has(id)) continue;
          const name = letters.find((letter) => letter.id === id)?.name ?? "";
          refused.push({ id, name, reason: notRequeued });
        }
        logger.info("redrive.progress", { actor, selected, requeued, refused: refused.length });
        const pauseMs = (letters.length / perSecond) * 1_000;
        await sleep(pauseMs, undefined, { signal }).catch(() => {});
      }
      return { selected, requeued, refused, cancelled: isCancelled() };
    },
  };
}

function isEvent(payload: unknown): boolean {
  return (
    typeof payload === "object" &&
    payload !== null &&
    "name" in payload &&
    typeof payload.name === "string" &&
    // Only the server itself sends events of these names, such as those of a cron trigger.
    !payload.name.startsWith("inngest/") &&
    "data" in payload &&
    typeof payload.data === "object"
  );
}
