import { encodePayload } from "@evenkeel/core";
import type { z } from "zod";

import { parseEvent, type EventContract } from "./dispatch-events.ts";

/** An event whose data matches its contract and fits into the limit of a payload. */
export interface CheckedEvent<Data = unknown> {
  /** Repeated sends under one id start nothing twice. */
  readonly id: string;
  readonly name: string;
  /** Exactly the fields of the contract: unknown ones are dropped. */
  readonly data: Data;
}

/** The events that {@link checkEvent} made. A copy is not among them: it may have been changed. */
const checkedEvents = new WeakSet<object>();

/**
 * Parses an event's data against its contract and holds its JSON text to the limit of a payload. The result
 * is frozen and known to {@link isCheckedEvent}, so that a sender need not check it again.
 *
 * @throws InputError `invalid_payload` with `name`, `version` and `issues`, or `payload_too_large` with
 * `bytes` and `limit`.
 *
 * @example
 * const event = checkEvent(processRequested, { id, data });
 */
export function checkEvent<Schema extends z.ZodType>(
  contract: EventContract<string, Schema>,
  { id, data }: { readonly id: string; readonly data: unknown },
): CheckedEvent<z.output<Schema>> {
  const parsed = parseEvent(contract, data);
  encodePayload(parsed, `event ${contract.name}`);
  Object.freeze(parsed);
  const event = Object.freeze({ id, name: contract.name, data: parsed });
  checkedEvents.add(event);
  return event;
}

/** Whether an event is one that {@link checkEvent} of this process made. */
export function isCheckedEvent(event: object): boolean {
  return checkedEvents.has(event);
}
