// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type Scenario, type ScenarioContext, scenario } from "../scenario.ts";

const post = (t: ScenarioContext, body: unknown, headers: Record<string, string> = {}) =>
  t.ask("POST", "/e/key", body, headers);

/** A refused event: its body, and what the response's `error` holds. */
const refusals: readonly (readonly [what: string, body: unknown, error: string])[] = [
  ["an empty event name", { name: "" }, "event name is empty"],
  ["an event without a name", { data: {} }, "event name is empty"],
  ["data that is text", { name: "a", data: "x" }, "cannot unmarshal string"],
  ["data that is a list", { name: "a", data: [1] }, "cannot unmarshal array"],
  ["a name that is a number", { name: 7 }, "cannot unmarshal number"],
  ["a time that is a fraction", { name: "a", ts: 1.5 }, "cannot unmarshal number 1.5"],
  ["a time before 1980", { name: "a", ts: 1_000 }, "timestamp is before Jan 1, 1980"],
  ["a time after 2100", { name: "a", ts: 4_102_444_900_000 }, "timestamp is after Jan 1, 2100"],
  ["a name of the server's own", { name: "inngest/mine" }, "reserved"],
  ["JSON that breaks off", '{"name":', ""],
  ["a body that is no object", '"text"', "Request body must contain an event object"],
];

/** What the event API takes, refuses and hands on. */
export const eventScenarios: readonly Scenario[] = [
  ...refusals.map(([what, body, error]) =>
    scenario(`answers 400 to ${what}`, async (t) => {
      const { status, json } = await post(t, body);
      expect(status).toBe(400);
      expect(json["error"]).toContain(error);
      expect(json["status"]).toBe(400);
    }),
  ),
  scenario("answers one id per event, in order", async (t) => {
    const { status, json } = await post(t, [{ name: t.name("a") }, { name: t.name("b") }]);
    expect(status).toBe(200);
    expect(json["status"]).toBe(200);
    const ids = json["ids"];
    expect(ids).toHaveLength(2);
    expect(new Set(Array.isArray(ids) ? ids : []).size).toBe(2);
  }),
  scenario("keeps the events of a batch before a bad one", async (t) => {
    const names: string[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("*") }] }, ({ event }) => {
        names.push(event.name);
      }),
    ]);
    const batch = [{ name: t.name("a") }, { name: "" }, { name: t.name("c") }];
    const { status, json } = await post(t, batch);
    expect(status).toBe(400);
    expect(json["ids"]).toHaveLength(1);
    await t.until(() => (names.length > 0 ? true : undefined), 10_000);
    await t.pass(500);
    expect(names).toEqual([t.name("a")]);
  }),
  scenario("takes events under any key, an empty one too", async (t) => {
    for (const key of ["", "anything"]) {
      const { status } = await t.ask("POST", `/e/${key}`, { name: t.name("a") });
      expect(status).toBe(200);
    }
  }),
  scenario("gives the same ids to a request sent again with its seed", async (t) => {
    const seed = { "x-inngest-event-id-seed": `${Date.now()},eii2YKXRVTJPuA==` };
    const batch = [{ name: t.name("a") }, { name: t.name("b") }];
    const first = await post(t, batch, seed);
    const second = await post(t, batch, seed);
    expect(second.json["ids"]).toEqual(first.json["ids"]);
  }),
  scenario("hands on data, user, version and time as they were sent", async (t) => {
    const seen: unknown[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, ({ event }) => {
        seen.push(event);
      }),
    ]);
    const ts = t.now() - 60_000;
    const sent = {
      id: t.name("id"),
      data: { n: 1, deep: { list: [1, "two", null] } },
      user: { external_id: "u" },
      v: "2026-01-01.1",
      ts,
    };
    const [id = ""] = await t.send({ name: t.name("a"), ...sent });
    await t.ended(id);
    expect(seen[0]).toMatchObject({ name: t.name("a"), ...sent });
  }),
  scenario("gives an event without data, id and time its own", async (t) => {
    const seen: Record<string, unknown>[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, ({ event }) => {
        seen.push({ ...event });
      }),
    ]);
    const { json } = await post(t, { name: t.name("a") });
    const ids = json["ids"];
    const id = Array.isArray(ids) ? String(ids[0]) : "";
    await t.ended(id);
    expect(seen[0]?.["id"]).toBe(id);
    expect(seen[0]?.["data"]).toBe(null);
    expect(Math.abs(Number(seen[0]?.["ts"]) - t.now())).toBeLessThan(60_000);
  }),
  scenario("hands on data that is null", async (t) => {
    const seen: unknown[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, ({ event }) => {
        seen.push(event.data);
      }),
    ]);
    await post(t, { name: t.name("a"), data: null });
    await t.until(() => (seen.length > 0 ? true : undefined), 10_000);
    expect(seen).toEqual([null]);
  }),
  scenario("starts a function once for two events of one id, which it cannot tell", async (t) => {
    let runs = 0;
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, () => {
        runs += 1;
      }),
    ]);
    const event = { name: t.name("a"), id: t.name("same") };
    const [first = ""] = await t.send(event);
    await t.ended(first);
    const [second = ""] = await t.send(event);
    expect(second).not.toBe(first);
    await t.pass(1_000);
    expect(runs).toBe(1);
    expect(await t.runsOf(second)).toEqual([]);
  }),
  scenario("starts another function for the same id under another event name", async (t) => {
    const names: string[] = [];
    await t.serve([
      t.client.createFunction({ id: "a", triggers: [{ event: t.name("a") }] }, () => {
        names.push("a");
      }),
      t.client.createFunction({ id: "b", triggers: [{ event: t.name("b") }] }, () => {
        names.push("b");
      }),
    ]);
    const ids = await t.send([
      { name: t.name("a"), id: t.name("same") },
      { name: t.name("b"), id: t.name("same") },
    ]);
    for (const id of ids) await t.ended(id);
    expect(names.toSorted()).toEqual(["a", "b"]);
  }),
  scenario("takes an event as a form", async (t) => {
    const seen: unknown[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, ({ event }) => {
        seen.push(event.data);
      }),
    ]);
    const { status } = await t.ask("POST", "/e/key", `name=${t.name("a")}&x=1`, {
      "content-type": "application/x-www-form-urlencoded",
    });
    await t.pass(500);
    expect({ status, seen }).toEqual({ status: 400, seen: [] });
  }),
];
