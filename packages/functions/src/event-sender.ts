import { InputError } from "@evenkeel/core";
import { DispatchError, type OutgoingEvent, type RelayedEvent } from "@evenkeel/dispatch";
import { checkEvent, eventContracts, isCheckedEvent } from "@evenkeel/events";
import type { Inngest } from "inngest";

import { withSendSignal } from "./send-signal.ts";

/** Sends dispatch events, all in one request. */
export type EventSender = (
  events: readonly OutgoingEvent[],
  options?: { readonly signal?: AbortSignal },
) => Promise<void>;

/**
 * Creates the `send` that a dispatcher works with. What a dispatcher prepared was checked then and is sent
 * as it is. An event from anywhere else is checked against its contract before any is sent.
 *
 * @throws (the sender) InputError `invalid_payload` or `payload_too_large`, with nothing
 * sent; otherwise what the SDK threw: the events may or may not have arrived.
 */
export function createEventSender(client: Pick<Inngest, "send">): EventSender {
  return async (events, { signal } = {}) => {
    const payloads = events.map((event) => {
      // A product's own contract is known to the dispatcher, and not here.
      if (isCheckedEvent(event)) return toPayload(event);
      const contract = eventContracts.get(event.name);
      if (contract === undefined) {
        const { name } = event;
        throw new InputError("invalid_payload", `${name} has no contract in this build.`, { name });
      }
      return toPayload(checkEvent(contract, event));
    });
    await withSendSignal(signal, () => client.send(payloads));
  };
}

function toPayload({
  id,
  name,
  data,
}: Pick<OutgoingEvent, "id" | "name"> & { data: { schemaVersion: number } }) {
  return { id, name, data, v: String(data.schemaVersion) };
}

/**
 * Creates the `send` that an outbox relay works with.
 *
 * @throws (the sender) DispatchError `event_refused` when the server will never take an event as it is;
 * otherwise what the SDK threw: the events may or may not have arrived.
 */
export function createOutboxSender(
  client: Pick<Inngest, "send">,
): (events: readonly RelayedEvent[], options?: { readonly signal?: AbortSignal }) => Promise<void> {
  return async (events, { signal } = {}) => {
    const payloads = events.map(({ id, name, ts, data }) => ({ id, name, ts, data }));
    try {
      await withSendSignal(signal, () => client.send(payloads));
    } catch (error) {
      if (!(error instanceof Error) || !refusal.test(error.message)) throw error;
      throw new DispatchError("event_refused", error.message, {}, { cause: error });
    }
  };
}

// What the SDK makes of a status that speaks of the event: malformed, too many, too large. A wrong key or a
// missing route is the host's fault, and the events wait until it is put right.
const refusal = /^Inngest API Error: (?:400|406|409|412|413) /u;
