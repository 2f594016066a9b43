import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { defined, describeMessage, resolveLogger, withDeadline, type Logger } from "@evenkeel/core";
import type { Ledger, OutboxEvent } from "@evenkeel/ledger";

import { DispatchError } from "../dispatch-error.ts";
import { withSignal } from "../dispatcher/send-limits.ts";

/** A product's event as it is given to the sender: sending it again under its id is harmless. */
export interface RelayedEvent {
  readonly id: string;
  readonly name: string;
  readonly data: OutboxEvent["data"];
  /** When it happened, in milliseconds since 1970. */
  readonly ts: number;
}

/** What a relay works with. */
export interface OutboxRelayOptions {
  readonly ledger: Pick<Ledger, "outbox">;
  /**
   * Sends events, all in one request and in order. Rejects with a DispatchError `event_refused` when the server
   * will never take them, with anything else when they may not have arrived.
   */
  readonly send: (
    events: readonly RelayedEvent[],
    options: { readonly signal: AbortSignal },
  ) => Promise<unknown>;
  /** Names this host in the ledger. */
  readonly owner: string;
  /** Most events in one request; defaults to 100. */
  readonly batchSize?: number;
  /** Most events in a second; defaults to 500. A backlog is sent at this pace, not at once. */
  readonly maxPerSecond?: number;
  /** How long `start` waits between two looks for events, in milliseconds; defaults to 500. */
  readonly pollMs?: number;
  /** How long a send may take, in milliseconds; defaults to 10,000. The lease lasts 20 s longer. */
  readonly sendTimeoutMs?: number;
  /** Where failed and refused sends are logged; defaults to the console. */
  readonly logger?: Logger;
  /** Returns a number from 0 up to 1, for the jitter; defaults to `Math.random`. */
  readonly random?: () => number;
}

/** What one run of a relay did. */
export interface RelayReport {
  readonly sent: number;
  readonly refused: number;
  /**
   * `drained`: nothing is left. `idle`: nothing was there, or another host sends. `unavailable`: a send failed,
   * and is tried again later. `stopped`: the signal fired.
   */
  readonly outcome: "drained" | "idle" | "unavailable" | "stopped";
}

/** How far a run of a relay goes. */
export interface RelayRunOptions {
  readonly signal?: AbortSignal;
  readonly deadline?: AbortSignal;
}

/** Sends what the outbox holds. */
export interface OutboxRelay {
  /**
   * Sends until nothing is left or `signal` fires, which lets the send under way end; `deadline` ends that too, and its
   * events are sent again by the next run. It sends under a rollback as well: the outbox holds a product's own events,
   * which have no other way, and runs that an operator requeued.
   *
   * @throws what the ledger throws when it cannot be reached.
   */
  run(options?: RelayRunOptions): Promise<RelayReport>;
  /** Runs again and again until it is stopped; `stop` waits for the send under way. */
  start(): { stop(): Promise<void> };
}

/** Longer than a send's time-out, so that a lease expires only when its host is gone. */
const leaseSlackMs = 20_000;
/** Most data in one request, in characters of JSON: well under the server's limit. */
const maxBatchLength = 256 * 1024;
const backoff = { baseMs: 250, maxMs: 30_000 };

/**
 * Creates a relay. Any number of hosts may run one: they share a lease, so that one of them sends at a time,
 * and events leave in the order in which they were added. A host that dies between a send and its record
 * leaves events that are sent again under the same ids, which Inngest drops.
 */
export function createOutboxRelay(options: OutboxRelayOptions): OutboxRelay {
  const { ledger, owner, batchSize = 100, maxPerSecond = 500, pollMs = 500 } = options;
  const { sendTimeoutMs = 10_000, random = Math.random } = options;
  const logger = resolveLogger(options.logger);
  const leaseMs = sendTimeoutMs + leaseSlackMs;

  const send = (events: readonly OutboxEvent[], deadline?: AbortSignal): Promise<unknown> =>
    withDeadline(sendTimeoutMs, (signal) =>
      withSignal(deadline, signal, (either) =>
        options.send(events.map(toRelayed), { signal: either }),
      ),
    );

  /** Sends a batch; one that the server refuses is sent event by event, to find whose fault it is. */
  async function sendBatch(
    events: readonly OutboxEvent[],
    deadline?: AbortSignal,
  ): Promise<{ sent: OutboxEvent[]; refused: Refusal[]; failure?: unknown }> {
    try {
      await send(events, deadline);
      return { sent: [...events], refused: [] };
    } catch (error) {
      if (!isRefusal(error)) return { sent: [], refused: [], failure: error };
      const [only] = events;
      if (only !== undefined && events.length === 1) {
        return { sent: [], refused: [{ event: only, error: error.message }] };
      }
    }
    const half = Math.ceil(events.length / 2);
    const first = await sendBatch(events.slice(0, half), deadline);
    if (first.failure !== undefined) return first;
    const second = await sendBatch(events.slice(half), deadline);
    return {
      ...second,
      sent: [...first.sent, ...second.sent],
      refused: [...first.refused, ...second.refused],
    };
  }

  function toFailure(error: unknown, failureCount: number): { error: string; delayMs: number } {
    const ceilingMs = Math.min(backoff.maxMs, backoff.baseMs * 2 ** failureCount);
    const failure = { error: describeMessage(error), delayMs: Math.ceil(random() * ceilingMs) };
    logger.warn("outbox.send_failed", { ...failure });
    return failure;
  }

  async function relay(
    fence: string,
    earlierFailures: number,
    { signal, deadline }: RelayRunOptions,
  ): Promise<RelayReport> {
    let [sent, refused, failureCount] = [0, 0, earlierFailures];
    // A server that was unavailable is asked with one event, and then with more and more.
    let size = failureCount > 0 ? 1 : batchSize;
    for (;;) {
      const startedAt = performance.now();
      const isStopped = signal?.aborted === true || deadline?.aborted === true;
      const batch = isStopped
        ? []
        : cutToLength(await ledger.outbox.read({ fence, leaseMs, limit: size }));
      if (batch.length === 0) {
        await ledger.outbox.settle({ fence, sent: [], release: true });
        return { sent, refused, outcome: isStopped ? "stopped" : "drained" };
      }
      const result = await sendBatch(batch, deadline);
      for (const { event, error } of result.refused) {
        logger.error("outbox.refused", { eventId: event.id, name: event.name, error });
      }
      sent += result.sent.length;
      refused += result.refused.length;
      if (result.sent.length > 0) failureCount = 0;
      // What the deadline cut off says nothing of the server.
      const isCut = result.failure !== undefined && deadline?.aborted === true;
      const failure = isCut ? undefined : result.failure;
      await ledger.outbox.settle({
        fence,
        sent: result.sent.map(({ place }) => place),
        refused: result.refused.map(({ event, error }) => ({ place: event.place, error })),
        ...defined({
          failure: failure === undefined ? undefined : toFailure(failure, failureCount),
        }),
      });
      if (failure !== undefined) return { sent, refused, outcome: "unavailable" };
      size = Math.min(batchSize, size * 2);
      const pauseMs = (batch.length / maxPerSecond) * 1_000 - (performance.now() - startedAt);
      if (pauseMs > 0) await sleep(pauseMs, undefined, { signal }).catch(() => {});
    }
  }

  async function run(runOptions: RelayRunOptions = {}): Promise<RelayReport> {
    const fence = randomUUID();
    const lease = await ledger.outbox.lease({ fence, owner, leaseMs });
    if (lease === undefined) return { sent: 0, refused: 0, outcome: "idle" };
    return relay(fence, lease.failureCount, runOptions);
  }

  return {
    run,
    start: () => {
      const stopping = new AbortController();
      const { signal } = stopping;
      const loop = (async () => {
        while (!signal.aborted) {
          await run({ signal }).catch((error: unknown) => {
            logger.error("outbox.ledger_unavailable", { error: describeMessage(error) });
          });
          await sleep(pollMs, undefined, { signal }).catch(() => {});
        }
      })();
      return {
        stop: async () => {
          stopping.abort();
          await loop;
        },
      };
    },
  };
}

interface Refusal {
  readonly event: OutboxEvent;
  readonly error: string;
}

function isRefusal(error: unknown): error is DispatchError {
  return error instanceof DispatchError && error.code === "event_refused";
}

function toRelayed({ id, name, data, occurredAt }: OutboxEvent): RelayedEvent {
  return { id, name, data, ts: occurredAt.getTime() };
}

/** The longest beginning of a batch that one request carries; at least one event. */
function cutToLength(events: readonly OutboxEvent[]): readonly OutboxEvent[] {
  let length = 0;
  const end = events.findIndex(({ data }, index) => {
    length += JSON.stringify(data).length;
    return index > 0 && length > maxBatchLength;
  });
  return end === -1 ? events : events.slice(0, end);
}
