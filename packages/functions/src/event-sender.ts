import type { OutgoingEvent } from "@evenkeel/dispatch";
import { encodePayload, eventContracts, EventError, parseEvent } from "@evenkeel/events";
import type { Inngest } from "inngest";

import { withSendSignal } from "./send-signal.ts";

/** Sends dispatch events, all in one request. */
export type EventSender = (
  events: readonly OutgoingEvent[],
  options?: { readonly signal?: AbortSignal },
) => Promise<void>;

/**
 * Creates the `send` that a dispatcher works with. Every event is checked against its contract before any
 * is sent.
 *
 * @throws (the sender) EventError `invalid_payload` or `payload_too_large`, with nothing
 * sent; otherwise what the SDK threw: the events may or may not have arrived.
 */
export function createEventSender(client: Pick<Inngest, "send">): EventSender {
  return async (events, { signal } = {}) => {
    const payloads = events.map(({ id, name, data }) => {
      const contract = eventContracts.get(name);
      if (contract === undefined) {
        throw new EventError("invalid_payload", `${name} has no contract in this build.`, { name });
      }
      const parsed = parseEvent(contract, data);
      encodePayload(parsed, `event ${name}`);
      return { id, name, data: parsed, v: String(contract.version) };
    });
    await withSendSignal(signal, () => client.send(payloads));
  };
}
