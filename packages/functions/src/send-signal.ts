import { AsyncLocalStorage } from "node:async_hooks";

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

/** A fetch that ends with the signal of {@link withSendSignal}, where there is one. */
export function fetchWithSendSignal(target: typeof fetch): typeof fetch {
  return (input, init) => {
    const signal = sendSignal.getStore();
    return signal === undefined ? target(input, init) : target(input, { ...init, signal });
  };
}
