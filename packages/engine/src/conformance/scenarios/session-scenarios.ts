// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type Scenario, type ScenarioContext, scenario } from "../scenario.ts";

type Sessions = Readonly<Record<string, unknown>> | null;

/** Serves a function `seen` that notes the `meta` of each event `b`; returns the notes. */
function watchMeta(t: ScenarioContext) {
  const metas: unknown[] = [];
  const fn = t.client.createFunction({ id: "seen", triggers: [{ event: t.name("b") }] }, (ctx) => {
    const event: object = ctx.event;
    metas.push("meta" in event ? event.meta : undefined);
  });
  return { metas, fn };
}

/** Sends an event `b` with these layers past the SDK, and returns the sessions that its run saw. */
async function mergedSessions(
  t: ScenarioContext,
  sessions: Sessions | undefined,
  inherited: Sessions,
): Promise<unknown> {
  const { metas, fn } = watchMeta(t);
  await t.serve([fn]);
  const meta = {
    ...(sessions === undefined ? {} : { sessions }),
    propagated_sessions: inherited,
  };
  const { status } = await t.ask("POST", "/e/key", { name: t.name("b"), data: {}, meta });
  expect(status).toBe(200);
  await t.until(() => (metas.length > 0 ? true : undefined), 10_000);
  return metas[0];
}

/** What the two layers of an event's sessions become: its own, and those of the run that sent it. */
const merges: readonly (readonly [
  what: string,
  own: Sessions | undefined,
  inherited: Sessions,
  meta: unknown,
])[] = [
  [
    "takes the sessions that an event inherits",
    undefined,
    { chat: "c1", page: 7 },
    { sessions: { chat: "c1", page: "7" } },
  ],
  [
    "lets an event's own session win over the one it inherits",
    { chat: "mine" },
    { chat: "c1", order: "o1" },
    { sessions: { chat: "mine", order: "o1" } },
  ],
  [
    "cuts the inherited session that an event sets to null",
    { chat: null },
    { chat: "c1", order: "o1" },
    { sessions: { order: "o1" } },
  ],
  ["cuts every inherited session where an event's are null", null, { chat: "c1" }, undefined],
  [
    "keeps inherited sessions where an event's own are empty",
    {},
    { chat: "c1" },
    { sessions: { chat: "c1" } },
  ],
  [
    "fills up to five sessions with the inherited, in the order of their names",
    { a: "1", z: "2", y: "3" },
    { q: "q", b: "b", m: "m", a: "x" },
    { sessions: { a: "1", z: "2", y: "3", b: "b", m: "m" } },
  ],
];

/** Layers that the event API refuses, and what it says of them. */
const refusals: readonly (readonly [what: string, meta: Record<string, unknown>, error: string])[] =
  [
    [
      "six sessions",
      { sessions: { a: "1", b: "1", c: "1", d: "1", e: "1", f: "1" } },
      "event sessions can include at most 5 entries",
    ],
    [
      "a session that is a boolean",
      { sessions: { a: true } },
      'event session "a" must be a string, number, or null',
    ],
    [
      "an inherited session that is null",
      { propagated_sessions: { a: null } },
      'event session "a" must be a string or number',
    ],
    [
      "a session without an id",
      { sessions: { a: "" } },
      'event session "a" cannot have an empty ID',
    ],
    ["a session without a name", { sessions: { "": "x" } }, "event session keys cannot be empty"],
    [
      "a session name of 129 bytes",
      { sessions: { ["k".repeat(129)]: "x" } },
      `event session key "${"k".repeat(129)}" exceeds 128 bytes`,
    ],
    [
      "a session id of 513 bytes",
      { sessions: { a: "x".repeat(513) } },
      'event session "a" exceeds 512 bytes',
    ],
  ];

/** The sessions of events: what a run hands on to what it starts. */
export const sessionScenarios: readonly Scenario[] = [
  ...merges.map(([what, own, inherited, meta]) =>
    scenario(what, async (t) => {
      expect(await mergedSessions(t, own, inherited)).toEqual(meta);
    }),
  ),
  ...refusals.map(([what, meta, error]) =>
    scenario(`answers 400 to ${what}`, async (t) => {
      const sent = { name: t.name("b"), data: {}, meta };
      const { status, json } = await t.ask("POST", "/e/key", sent);
      expect(status).toBe(400);
      expect(json["error"]).toContain(error);
    }),
  ),
  scenario("hands a run's sessions on to the events that it sends", async (t) => {
    const { metas, fn } = watchMeta(t);
    await t.serve([
      fn,
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        await step.sendEvent("tell", { name: t.name("b"), data: {} });
      }),
    ]);
    await t.send({ name: t.name("a"), meta: { sessions: { chat: "c1" } } });
    await t.until(() => (metas.length > 0 ? true : undefined), 10_000);
    expect(metas).toEqual([{ sessions: { chat: "c1" } }]);
  }),
  scenario("hands a run's sessions on to the function that it invokes", async (t) => {
    const { metas, fn } = watchMeta(t);
    await t.serve([
      fn,
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        await step.invoke("call", { function: fn, data: {} });
      }),
    ]);
    await t.send({ name: t.name("a"), meta: { sessions: { chat: "c1" } } });
    await t.until(() => (metas.length > 0 ? true : undefined), 10_000);
    expect(metas).toEqual([{ sessions: { chat: "c1" } }]);
  }),
  scenario("hands an invocation's own sessions on, before the run's", async (t) => {
    const { metas, fn } = watchMeta(t);
    await t.serve([
      fn,
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const meta = { sessions: { chat: "mine", order: "o1" } };
        await step.invoke("call", { function: fn, data: {}, meta });
      }),
    ]);
    await t.send({ name: t.name("a"), meta: { sessions: { chat: "c1", page: "p1" } } });
    await t.until(() => (metas.length > 0 ? true : undefined), 10_000);
    expect(metas).toEqual([{ sessions: { chat: "mine", order: "o1", page: "p1" } }]);
  }),
  scenario("takes the sessions of an invocation through the API", async (t) => {
    const { metas, fn } = watchMeta(t);
    await t.serve([fn]);
    const meta = { sessions: { chat: "c1" }, propagated_sessions: { page: "p1" } };
    const { status } = await t.ask("POST", `/invoke/${t.id}-seen`, { data: {}, meta });
    expect(status).toBe(200);
    await t.until(() => (metas.length > 0 ? true : undefined), 10_000);
    expect(metas).toEqual([{ sessions: { chat: "c1", page: "p1" } }]);
    const refused = await t.ask("POST", `/invoke/${t.id}-seen`, { meta: { sessions: { a: "" } } });
    expect(refused.status).toBe(400);
  }),
];
