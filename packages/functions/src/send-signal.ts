import { AsyncLocalStorage } from "node:async_hooks";

import type { Logger } from "@evenkeel/core";
/** How long a send of a function may take, in milliseconds. */
export const sendTimeoutMs: number = 10_000;

/** The SDK's `send` takes no signal; its requests find the caller's here. */
const sendSignal = new AsyncLocalStorage<AbortSignal>();

/** Runs a send whose requests end when the signal fires. */
export function withSendSignal<T>(
  signal: AbortSignal | undefined,
  send: () => Promise<T>,
): Promise<T> {
  return signal === undefined ? send() : sendSignal.run(signal, send);
}

/**
 * A fetch that ends with the signal of {@link withSendSignal}, where there is one. It says which server could not be
 * reached: the address without path and key.
 */
export function fetchWithSendSignal(target: typeof fetch, logger: Logger): typeof fetch {
  return async (input, init) => {
    const signal = sendSignal.getStore();
    // The SDK tries again what was given up.
    const wasGivenUp = signal?.aborted === true;
    try {
      return await (signal === undefined
        ? target(input, init)
        : target(input, { ...init, signal }));
    } catch (cause) {
      const address = readAddress(input);
      if (signal?.aborted !== true) {
        throw new Error(`Inngest at ${address} could not be reached`, { cause });
      }
      // Whoever gave up has only a time-out to tell.
      if (!wasGivenUp) logger.warn("inngest.no_answer", { address });
      throw cause;
    }
  };
}

function readAddress(input: Parameters<typeof fetch>[0]): string {
  try {
    return new URL(input instanceof Request ? input.url : input).origin;
  } catch {
    return "an address that is no URL";
  }
}
