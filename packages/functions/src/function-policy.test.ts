import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { createEngine, type Engine } from "@evenkeel/engine";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { serve } from "inngest/edge";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";

import { createBackground, type Background } from "./background.ts";
import { functionPolicies, type FunctionPolicy } from "./function-policy.ts";

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const registration = z.object({
  functions: z.array(
    z
      .object({
        id: z.string(),
        steps: z.object({ step: z.object({ retries: z.object({ attempts: z.number() }) }) }),
      })
      .loose(),
  ),
});

type Limits = { readonly isolatedConcurrency?: number; readonly isolatedPerTenant?: number };

function open(limits: Limits, engine: Engine): Background<[Request], Promise<Response>> {
  return createBackground({
    appId: "shop",
    environment: {
      INNGEST_DEV: "1",
      INNGEST_BASE_URL: engine.url,
      BACKGROUND_JOBS_INNGEST_CONCURRENCY: "7",
    },
    pool: database.pool,
    handlers: [],
    serve,
    ...limits,
    fetch: engine.fetch,
  });
}

/** What the SDK answers a server's PUT of `/api/inngest` with: the functions as the server is told of them. */
async function register(limits: Limits): Promise<z.output<typeof registration>["functions"]> {
  const engine = createEngine();
  const background = open(limits, engine);
  const bodies: unknown[] = [];
  await engine.register(async (request) => {
    const response = await background.inngest(request);
    if (request.method === "PUT") bodies.push(await response.clone().json());
    return response;
  });
  await engine.close();
  await background.close();
  return registration.parse(bodies[0]).functions;
}

/** A policy as the SDK puts it on the wire. */
function wire(policy: FunctionPolicy): object {
  return {
    id: `shop-${policy.id}`,
    concurrency: policy.concurrency.map(({ why: _why, ...limit }) => limit),
    idempotency: policy.idempotency.key,
    timeouts: Object.fromEntries(
      Object.entries(policy.timeouts).filter(([name]) => name !== "why"),
    ),
    attempts: policy.retries.count,
  };
}

test("the functions that the SDK serves are those of the table, with its policies and no others", async () => {
  for (const settings of [{}, { isolatedConcurrency: 3, isolatedPerTenant: 2 }]) {
    const served = (await register(settings)).map((each) => {
      const { id, name: _name, triggers: _triggers, steps, ...policy } = each;
      // Nothing else is registered: no throttle, debounce, rate limit, priority, batch or singleton.
      return { id, ...policy, attempts: steps.step.retries.attempts };
    });
    expect(served).toEqual(
      Object.values(functionPolicies({ concurrency: 7, ...settings })).map((policy) =>
        wire(policy),
      ),
    );
  }
});

test.each([{ isolatedConcurrency: 0 }, { isolatedPerTenant: 1.5 }])(
  "the limit %j is refused when the functions are made",
  async (limits) => {
    const engine = createEngine();
    expect(() => open(limits, engine).parts()).toThrow(
      expect.objectContaining({ code: "invalid_options" }),
    );
    await engine.close();
  },
);

test("a run waits and works longer than what it stands for can take", () => {
  // The ledger delegates a job again after 5 min, twice as long six times; a job's time-out is a day at most.
  const { start = "0h", finish } = functionPolicies().isolatedJob.timeouts;
  expect(Number.parseInt(start, 10) * 60).toBeGreaterThan(5 * 2 ** 6);
  expect(Number.parseInt(finish, 10)).toBeGreaterThan(24);
});

test("the README shows the table", async () => {
  const readme = await readFile(join(import.meta.dirname, "..", "README.md"), "utf8");
  const shown = readme
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) => line.replaceAll(/\s+/gu, " ").trim());
  for (const line of Object.values(functionPolicies()).flatMap((policy) => rows(policy))) {
    expect(shown).toContain(line);
  }
});

/** The rows of a policy in the README. */
function rows({
  id,
  concurrency,
  unpaced,
  idempotency,
  retries,
  timeouts,
}: FunctionPolicy): string[] {
  const row = (what: string, value: string, why: string): string =>
    `| \`${id}\` | ${what} | ${value} | ${why} |`;
  const { start, finish } = timeouts;
  return [
    ...concurrency.map(({ limit, key, why }) =>
      row("concurrency", key === undefined ? String(limit) : `${limit} per \`${key}\``, why),
    ),
    row("pace", "none", unpaced),
    row("idempotency", `\`${idempotency.key}\``, idempotency.why),
    row("retries", String(retries.count), retries.why),
    row(
      "time-outs",
      `${start === undefined ? "no start" : `start ${start}`}, finish ${finish}`,
      timeouts.why,
    ),
  ];
}
