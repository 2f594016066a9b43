import { randomUUID } from "node:crypto";

import { encodePayload, InputError, parseTenantId, type JsonValue } from "@evenkeel/core";

import { isStorableJson } from "../database/storable-json.ts";

/** An event that a product asks for. */
export interface NewOutboxEvent {
  /** 1 to 200 characters. */
  readonly name: string;
  readonly data: { readonly [key: string]: JsonValue };
  /**
   * What makes two events one, 1 to 200 characters; generated if absent. Inngest remembers it for 24 hours,
   * the outbox as long as it keeps the event. Put no tenant's text in it.
   */
  readonly id?: string;
  /** Whose event it is; absent: nobody's in particular. */
  readonly tenantId?: string;
  /** When it happened; the database's time if absent. */
  readonly occurredAt?: Date;
}

/** What became of an added event. */
export interface AddedOutboxEvent {
  /** The id that it is sent with, each time that it is sent. */
  readonly id: string;
  /** `false`: an event of this id was added before, and nothing was written. */
  readonly created: boolean;
}

/** An event that is to be sent. */
export interface OutboxEvent {
  /** Its place in the outbox, as decimal text. */
  readonly place: string;
  readonly id: string;
  readonly name: string;
  readonly data: NewOutboxEvent["data"];
  readonly tenantId: string | null;
  readonly occurredAt: Date;
}

/** The right to relay. */
export interface OutboxLease {
  /** Failed sends in a row, by whichever host: after one, a relay begins with little. */
  readonly failureCount: number;
}

/** What came of a send. Places are those of {@link OutboxEvent}. */
export interface OutboxSettlement {
  readonly fence: string;
  readonly sent: readonly string[];
  /** Events that the server will never take: they are marked, and each gets a dead letter. */
  readonly refused?: readonly { readonly place: string; readonly error: string }[];
  /** The send failed: no host tries again for so many milliseconds. Releases the lease. */
  readonly failure?: { readonly error: string; readonly delayMs: number };
  /** Releases the lease. */
  readonly release?: boolean;
}

/** How far the relay is behind. */
export interface OutboxBacklog {
  readonly pending: number;
  /** Age of the oldest pending event in milliseconds, 0 without one. */
  readonly oldestMs: number;
  readonly refused: number;
}

/** Checks an event, and writes it as the item of the JSON list that the insert takes. */
export function prepareEvent(event: NewOutboxEvent): {
  readonly id: string;
  readonly json: string;
} {
  const { name, tenantId, occurredAt } = event;
  checkText("name", name);
  const id = event.id ?? randomUUID();
  checkText("id", id);
  if (tenantId !== undefined) parseTenantId(tenantId);
  if (occurredAt !== undefined && Number.isNaN(occurredAt.getTime())) {
    throw new InputError("invalid_payload", `Event ${name} has an invalid occurredAt.`, { name });
  }
  const text = encodePayload(event.data, `event ${name}`);
  if (!text.startsWith("{")) {
    throw new InputError("invalid_payload", `The data of event ${name} must be an object.`, {
      name,
    });
  }
  const fields = JSON.stringify({
    id,
    tenant_id: tenantId,
    name,
    occurred_at: occurredAt?.toISOString(),
  });
  const json = `${fields.slice(0, -1)},"data":${text}}`;
  if (isStorableJson(json)) return { id, json };
  throw new InputError(
    "invalid_payload",
    `Event ${name} holds a NUL character or half of a surrogate pair, which Postgres cannot store. Clean the text first.`,
    { name },
  );
}

function checkText(field: "id" | "name", value: unknown): void {
  if (typeof value === "string" && value.length >= 1 && value.length <= 200) return;
  throw new InputError(
    "invalid_payload",
    `An outbox event's ${field} must have 1 to 200 characters.`,
    {
      field,
    },
  );
}
