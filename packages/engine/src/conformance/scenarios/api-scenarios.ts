// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type Scenario, type ScenarioContext, scenario } from "../scenario.ts";

const ulid = /^[0-9A-HJKMNP-TV-Z]{26}$/;

/** Serves a function that sleeps, for those who want to interrupt it. */
async function serveSleeper(t: ScenarioContext): Promise<void> {
  await t.serve([
    t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
      await step.sleep("nap", "20s");
      return "slept";
    }),
  ]);
}

function findRunning(t: ScenarioContext, eventId: string) {
  return t.until(
    async () => (await t.runsOf(eventId)).find((run) => run.status === "Running"),
    10_000,
  );
}

/** The HTTP interface that apps, tests and operators use. */
export const apiScenarios: readonly Scenario[] = [
  scenario("shows an event by its id", async (t) => {
    const ts = t.now();
    const sent = { name: t.name("a"), data: { n: 1 }, id: t.name("mine"), ts };
    const [id = ""] = await t.send(sent);
    const data = await t.until(async () => {
      const { json } = await t.ask("GET", `/v1/events/${id}?asked=${Math.random()}`);
      return json["data"] ?? undefined;
    }, 10_000);
    expect(data).toMatchObject({ ...sent, internal_id: id });
    expect(data).toHaveProperty("received_at");
  }),
  scenario("answers null for an unknown event and 400 for what is no id", async (t) => {
    const unknown = await t.ask("GET", "/v1/events/01JQDAE4RQ0000000000000000");
    expect(unknown).toMatchObject({ status: 200, json: { data: null } });
    // The real server sends the status within the body alone.
    for (const path of ["/v1/events/nonsense", "/v1/events/nonsense/runs", "/v1/runs/nonsense"]) {
      expect((await t.ask("GET", path)).json).toMatchObject({ status: 400, data: null });
    }
  }),
  scenario("answers no runs for an unknown event", async (t) => {
    const { status, json } = await t.ask("GET", "/v1/events/01JQDAE4RQ0000000000000000/runs");
    expect(status).toBe(200);
    expect(json["data"] ?? []).toEqual([]);
  }),
  scenario("lists events by name, the newest first", async (t) => {
    const ids: string[] = [];
    for (const n of [1, 2, 3]) {
      ids.push(...(await t.send({ name: t.name("a"), data: { n } })));
      await t.pass(20);
    }
    const listed = await t.until(async () => {
      const query = `name=${encodeURIComponent(t.name("a"))}&asked=${Math.random()}`;
      const { json } = await t.ask("GET", `/v1/events?${query}`);
      const data = json["data"];
      return Array.isArray(data) && data.length >= 3 ? (data as unknown[]) : undefined;
    }, 10_000);
    expect(listed.map((each) => Object(each).internal_id as unknown)).toEqual(ids.toReversed());
  }),
  scenario("shows a run by its id, under way and ended", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        await step.sleep("nap", "2s");
        return { n: 1 };
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const running = await findRunning(t, id);
    expect(running).toMatchObject({ event_id: id, run_id: expect.stringMatching(ulid) });
    const [ended] = await t.ended(id);
    const { status, json } = await t.ask("GET", `/v1/runs/${running.run_id}`);
    expect(status).toBe(200);
    expect(json["data"]).toMatchObject({
      run_id: running.run_id,
      status: "Completed",
      function_id: ended?.function_id,
    });
    expect(Date.parse(String(Object(json["data"]).ended_at))).toBeGreaterThan(0);
  }),
  scenario("cancels a run by its id", async (t) => {
    await serveSleeper(t);
    const [id = ""] = await t.send({ name: t.name("a") });
    const run = await findRunning(t, id);
    await t.pass(500);
    const { status } = await t.ask("DELETE", `/v1/runs/${run.run_id}`);
    expect(Math.floor(status / 100)).toBe(2);
    expect(await t.ended(id)).toMatchObject([{ status: "Cancelled" }]);
  }),
  scenario("refuses a bulk cancellation that names no function or no time", async (t) => {
    const before = new Date(t.now()).toISOString();
    const bodies: unknown[] = [
      "no JSON",
      { function_id: "f", started_before: before },
      { app_id: t.id, started_before: before },
      { app_id: t.id, function_id: "f" },
    ];
    for (const body of bodies) {
      expect((await t.ask("POST", "/v1/cancellations", body)).status).toBe(400);
    }
  }),
  scenario("says what it is to an SDK that looks for a development server", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, () => 1),
    ]);
    const { status, json } = await t.ask("GET", "/dev");
    expect(status).toBe(200);
    const functions = Array.isArray(json["functions"]) ? json["functions"] : [];
    const slugs = functions.map((each) => Object(each).slug as unknown);
    expect(slugs).toContain(`${t.id}-f`);
    expect((await t.ask("GET", "/health")).status).toBe(200);
  }),
  scenario("invokes a function through the API", async (t) => {
    const seen: unknown[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, ({ event }) => {
        const data: Record<string, unknown> = event.data;
        seen.push(data["n"]);
      }),
    ]);
    const { status } = await t.ask("POST", `/invoke/${t.id}-f`, { data: { n: 5 } });
    expect(status).toBe(200);
    await t.until(() => (seen.length > 0 ? true : undefined), 10_000);
    expect(seen).toEqual([5]);
  }),
  scenario("takes an app in again that has changed, and calls its new functions", async (t) => {
    const ran: string[] = [];
    const make = (id: string) =>
      t.client.createFunction({ id, triggers: [{ event: t.name("a") }] }, () => void ran.push(id));
    await t.serve([make("old")]);
    await t.serve([make("new")]);
    const [id = ""] = await t.send({ name: t.name("a") });
    await t.ended(id);
    await t.pass(500);
    expect(ran).toEqual(["new"]);
  }),
  scenario("answers an event before its run starts", async (t) => {
    const order: string[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, ({ event }) => {
        order.push(`run ${String(event.data["n"])}`);
      }),
    ]);
    for (const n of [1, 2, 3, 4, 5]) {
      const sent = await t.ask("POST", "/e/key", { name: t.name("a"), data: { n } });
      expect(sent.status).toBe(200);
      order.push(`answer ${n}`);
      await t.until(() => (order.includes(`run ${n}`) ? true : undefined), 10_000);
    }
    expect(order).toEqual([1, 2, 3, 4, 5].flatMap((n) => [`answer ${n}`, `run ${n}`]));
  }),
  scenario("answers requests from pages of this machine, and those from no page", async (t) => {
    const origins = [{}, { origin: "http://localhost:3000" }, { origin: "http://127.0.0.1:8288" }];
    for (const headers of origins) {
      const { status } = await t.ask("POST", "/e/key", { name: t.name("a") }, headers);
      expect(status).toBe(200);
    }
  }),
];
