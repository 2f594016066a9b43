import { checkEvent, processRequested } from "@evenkeel/events";
import { expect, test } from "vitest";

import { createEventSender, type EventSender } from "./event-sender.ts";
import { windowEvent } from "./testing/background-app.ts";

interface Recorder {
  readonly sent: unknown[];
  readonly send: EventSender;
}

function record(): Recorder {
  const sent: unknown[] = [];
  const client = {
    send: async (payloads: unknown) => {
      sent.push(payloads);
      return { ids: [] };
    },
  };
  return { sent, send: createEventSender(client) };
}

test("a checked event is sent as it is, with its contract's version", async () => {
  const { sent, send } = record();
  const { id, name, data } = windowEvent();
  const event = checkEvent(processRequested, { id, data });
  await send([event]);
  expect(sent).toEqual([[{ id, name, data, v: "1" }]]);
});

test("an event from anywhere else loses what its contract does not know", async () => {
  const { sent, send } = record();
  const event = windowEvent();
  await send([{ ...event, data: Object.assign({ secret: "s" }, event.data) }]);
  expect(sent).toEqual([[{ ...event, v: "1" }]]);
});

test("of unchecked events, one that breaks its contract keeps all from being sent", async () => {
  const { sent, send } = record();
  const event = windowEvent();
  const wrong = { ...event, data: { ...event.data, correlationId: "" } };
  await expect(send([event, wrong])).rejects.toMatchObject({ code: "invalid_payload" });
  const large = { ...event, data: { ...event.data, params: { text: "x".repeat(600 * 1024) } } };
  await expect(send([event, large])).rejects.toMatchObject({ code: "payload_too_large" });
  await expect(send([{ ...event, name: "no/such" }])).rejects.toMatchObject({
    code: "invalid_payload",
  });
  expect(sent).toEqual([]);
});
