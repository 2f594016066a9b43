import { EventRefusedError } from "../event/event.ts";
import { type Json, parseJson } from "../json.ts";
import type { InboundRequest } from "./inbound-request.ts";

/** The largest event that the event API takes, in bytes. */
const maxEventBytes: number = 3 * 1024 * 1024;
/** The most events that one request may carry. */
const maxEventsPerRequest: number = 5_000;

/**
 * Takes an event API request apart: one event, or several; JSON, a form or a multipart form.
 * `refusal` is set where the server stops reading; the events before it still count.
 */
export async function readEventBody(request: InboundRequest): Promise<{
  items: Json[];
  refusal?: EventRefusedError;
}> {
  const contentType = request.headers.get("content-type") ?? "";
  const isForm = /^(multipart\/form-data|application\/x-www-form-urlencoded)/.test(contentType);
  const text = await request.text();
  const trimmed = text.trimStart();
  if (trimmed === "") return { items: [] };
  if (trimmed.startsWith("{")) return readSingle(text);
  if (trimmed.startsWith("[")) return readBatch(trimmed);
  if (isForm) return readForm(text, contentType);
  return {
    items: [],
    refusal: new EventRefusedError(
      "Request body must contain an event object or an array of event objects",
    ),
  };
}

function tooLarge(bytes: number): EventRefusedError {
  return new EventRefusedError(
    `Event is over the max size: Max ${maxEventBytes} bytes / Size ${bytes} bytes`,
  );
}

function invalidJson(): EventRefusedError {
  return new EventRefusedError("invalid character in JSON event body");
}

function readSingle(text: string): { items: Json[]; refusal?: EventRefusedError } {
  const bytes = Buffer.byteLength(text);
  if (bytes > maxEventBytes) return { items: [], refusal: tooLarge(bytes) };
  const item = parseJson(text);
  return item === undefined ? { items: [], refusal: invalidJson() } : { items: [item] };
}

function readBatch(text: string): { items: Json[]; refusal?: EventRefusedError } {
  const batch = parseJson(text);
  if (!Array.isArray(batch)) return { items: [], refusal: invalidJson() };
  if (text.length > maxEventBytes) {
    for (const [index, item] of batch.entries()) {
      const bytes = Buffer.byteLength(JSON.stringify(item));
      if (bytes > maxEventBytes) return { items: batch.slice(0, index), refusal: tooLarge(bytes) };
    }
  }
  if (batch.length <= maxEventsPerRequest) return { items: batch };
  return {
    items: batch.slice(0, maxEventsPerRequest),
    refusal: new EventRefusedError(
      `Cannot have more than ${maxEventsPerRequest} events in a batch`,
    ),
  };
}

async function readForm(
  text: string,
  contentType: string,
): Promise<{ items: Json[]; refusal?: EventRefusedError }> {
  const fields: Record<string, string[]> = {};
  const form = new Response(text, { headers: { "content-type": contentType } });
  let data: FormData;
  try {
    data = await form.formData();
  } catch {
    return { items: [], refusal: new EventRefusedError("Request body is not the form it says") };
  }
  for (const [name, value] of data) {
    (fields[name] ??= []).push(typeof value === "string" ? value : await value.text());
  }
  return { items: [fields] };
}
