import { describe, expect, it } from "vitest";

import { createEngine } from "../engine.ts";
import { isObject, parseJson } from "../json.ts";
import { createSdkApp } from "../testing/sdk-app.ts";
import { virtualClock } from "../time/clock.ts";

function setup() {
  const engine = createEngine({ clock: virtualClock() });
  const post = async (body: string, path = "/e/key", contentType = "application/json") => {
    const response = await engine.fetch(`${engine.url}${path}`, {
      method: "POST",
      body,
      headers: { "content-type": contentType },
    });
    const json = parseJson(await response.text());
    return { status: response.status, json: isObject(json) ? json : {} };
  };
  return { engine, post };
}

describe("event API", () => {
  it("answers an id for each event of a batch", async () => {
    const { engine, post } = setup();
    const { status, json } = await post(JSON.stringify([{ name: "a" }, { name: "b" }]));
    expect(status).toBe(200);
    expect(json).toEqual({ ids: engine.events().map((each) => each.internalId), status: 200 });
  });

  it.each([
    ['{"name":""}', "event name is empty"],
    ["{}", "event name is empty"],
    ['{"name":"a","data":"x"}', "cannot unmarshal string into Go struct field raw.data"],
    ['{"name":"a","data":[1]}', "cannot unmarshal array into Go struct field raw.data"],
    ['{"name":7}', "cannot unmarshal number 7 into Go struct field raw.name"],
    ['{"name":"a","ts":1.5}', "cannot unmarshal number 1.5 into Go struct field raw.ts"],
    ['{"name":"a","ts":1000}', "timestamp is before Jan 1, 1980"],
    ['{"name":"a","ts":4102444800001}', "timestamp is after Jan 1, 2100"],
    ['{"name":"inngest/x"}', "event name is reserved for internal use: inngest/x"],
    ['{"name":', "invalid character"],
    ['"text"', "Request body must contain an event object or an array of event objects"],
  ])("answers 400 to %s", async (body, message) => {
    const { engine, post } = setup();
    const { status, json } = await post(body);
    expect(status).toBe(400);
    expect(json["error"]).toContain(message);
    expect(json["ids"]).toEqual([""]);
    expect(engine.events()).toEqual([]);
  });

  it("keeps the events before a bad one in a batch", async () => {
    const { engine, post } = setup();
    const { status, json } = await post(
      JSON.stringify([{ name: "a" }, { name: "" }, { name: "c" }]),
    );
    expect(status).toBe(400);
    expect(json["ids"]).toEqual([engine.events()[0]?.internalId]);
    expect(engine.events().map((each) => each.name)).toEqual(["a"]);
  });

  it("refuses an event that is too large, and a batch that is too long", async () => {
    const { post } = setup();
    const large = JSON.stringify({ name: "a", data: { text: "x".repeat(3 * 1024 * 1024) } });
    expect((await post(large)).json["error"]).toContain("Event is over the max size");
    const long = JSON.stringify(Array.from({ length: 5_001 }, () => ({ name: "a" })));
    expect((await post(long)).json["error"]).toBe("Cannot have more than 5000 events in a batch");
  });

  it("gives the same ids to a request that is sent again with its seed", async () => {
    const { engine } = setup();
    const send = async () => {
      const response = await engine.fetch(`${engine.url}/e/key`, {
        method: "POST",
        body: JSON.stringify([{ name: "a" }, { name: "b" }]),
        headers: { "x-inngest-event-id-seed": "1743130137367,eii2YKXRVTJPuA==" },
      });
      return response.json();
    };
    const first: unknown = await send();
    expect(await send()).toEqual(first);
    expect(first).toMatchObject({
      ids: [expect.stringMatching(/^01JQDAE4RQ/), expect.any(String)],
    });
  });

  it("answers 400 to what is no id", async () => {
    const { engine } = setup();
    const status = async (path: string) => (await engine.fetch(`${engine.url}${path}`)).status;
    expect(await status("/v1/events/01M84Z2SZ747C4FEZDQK8YZG0M")).toBe(200);
    expect(await status("/v1/events/nonsense")).toBe(400);
    expect(await status("/v1/runs/nonsense")).toBe(400);
    expect(await status("/nowhere")).toBe(404);
    expect(await status("/health")).toBe(200);
    expect(await status("/dev")).toBe(200);
  });
});

describe("ids of events that an SDK sends", () => {
  it("follow the engine's time, so that an event of later cancels a run of before", async () => {
    const { engine, inngest } = createSdkApp(
      (client) => [
        client.createFunction(
          { id: "f", triggers: [{ event: "a" }], cancelOn: [{ event: "stop" }] },
          async ({ step }) => step.sleep("nap", "1d"),
        ),
      ],
      { clock: virtualClock({ start: "2099-01-01T00:00:00Z" }) },
    );
    await inngest.send({ name: "a" });
    await engine.advance("1h");
    await inngest.send({ name: "stop" });
    await engine.settled();
    expect(engine.runs()).toMatchObject([{ status: "Cancelled" }]);
  });
});
