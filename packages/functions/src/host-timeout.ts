import { AsyncLocalStorage } from "node:async_hooks";

import { withDeadline } from "@evenkeel/core";
import { Middleware } from "inngest";

/** What a step keeps free of its host's limit, in milliseconds: to settle what it ran, and to respond. */
export const stepReserveMs: number = 5_000;

/** What of it is for the response and its record, in milliseconds: by then a step is given up. */
const answerReserveMs = 3_500;

/** The limit of a step that runs no jobs, on a host without one, in milliseconds. */
const usualTimeoutMs = 60_000;

const requestStartMs = new AsyncLocalStorage<number>();

/** Remembers when a request began: one request runs several steps, and its host counts from the first. */
export class RequestTime extends Middleware.BaseMiddleware {
  readonly id = "evenkeel:request-time";

  override wrapRequest({ next }: Middleware.WrapRequestArgs): Promise<Middleware.Response> {
    return requestStartMs.run(performance.now(), next);
  }
}

/**
 * Returns by when what a step runs is over, on a host that ends a request after `hostTimeoutMs` milliseconds: 5 s
 * before, counted from the request's beginning. `undefined`: the host has no limit, and neither has the step.
 */
export function limitsOf(hostTimeoutMs: number | undefined): { readonly deadlineMs?: number } {
  return hostTimeoutMs === undefined ? {} : { deadlineMs: leftMs(hostTimeoutMs - stepReserveMs) };
}

/**
 * Runs a step's work that starts no jobs. Its signal fires 5 s before the host's limit, or 55 s after the request began
 * where the host has none: what is left then is for the next step or run. Work that ignores the signal is given up 1.5 s
 * later, and the step fails.
 *
 * @throws DeadlineExceededError, or what the work throws.
 */
export function boundStep<Value>(
  hostTimeoutMs: number = usualTimeoutMs,
  work: (signal: AbortSignal) => Promise<Value>,
): Promise<Value> {
  const deadline = AbortSignal.timeout(leftMs(hostTimeoutMs - stepReserveMs));
  return withDeadline(leftMs(hostTimeoutMs - answerReserveMs), (late) =>
    work(AbortSignal.any([deadline, late])),
  );
}

/**
 * Runs a step's work that starts jobs, which keeps the deadline of {@link limitsOf} by itself. It is given up 1.5 s
 * later, and the step fails. On a host without a limit it takes what it takes.
 *
 * @throws DeadlineExceededError, or what the work throws.
 */
export function boundDrain<Value>(
  hostTimeoutMs: number | undefined,
  work: (limits: { readonly signal?: AbortSignal }) => Promise<Value>,
): Promise<Value> {
  if (hostTimeoutMs === undefined) return work({});
  return withDeadline(leftMs(hostTimeoutMs - answerReserveMs), (signal) => work({ signal }));
}

/**
 * The settings of a function on such a host: no step begins in a request that has used a quarter of its time. The SDK's
 * own limit is 10 s.
 */
export function checkpointingOf(hostTimeoutMs: number | undefined): {
  readonly checkpointing?: { readonly maxRuntime: number };
} {
  if (hostTimeoutMs === undefined) return {};
  return { checkpointing: { maxRuntime: Math.min(10_000, Math.ceil(hostTimeoutMs / 4)) } };
}

function leftMs(ofRequestMs: number): number {
  const nowMs = performance.now();
  return Math.max(1, Math.floor(ofRequestMs - (nowMs - (requestStartMs.getStore() ?? nowMs))));
}
