import { createEngine, type Engine } from "@evenkeel/engine";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { loadReadmeHost, type ReadmeHost, type Route } from "./testing/readme-host.ts";

let database: TestDatabase;
let engine: Engine;
let host: ReadmeHost | undefined;
beforeEach(async () => {
  database = await createTestDatabase({ migrated: false });
  engine = createEngine();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  await engine.close();
  await host?.background.close();
  await host?.remove();
  await database.drop();
});

test("the README's host takes a tick, and runs the job that its route enqueued", async () => {
  // Its modules are imported before anything is configured, as a build does.
  host = await loadReadmeHost();
  const { background, routes, greetings } = host;
  const said = vi.spyOn(console, "log").mockImplementation(() => {});
  vi.stubEnv("DATABASE_URL", database.databaseUrl);
  vi.stubEnv("CRON_SECRET", "at-least-16-characters");
  vi.stubEnv("INNGEST_DEV", (await engine.listen()).url);

  await background.migrate();
  await engine.register((request) => call(routes, request));
  const tick = new Request("http://localhost/api/cron/background-jobs", {
    headers: { authorization: "Bearer at-least-16-characters" },
  });
  const response = await call(routes, tick);
  expect([response.status, await response.json()]).toMatchObject([202, { mode: "dispatch-only" }]);
  const body = JSON.stringify({ name: "Ada" });
  const greeting = new Request("http://localhost/api/greetings", { method: "POST", body });
  expect((await call(greetings, greeting)).status).toBe(202);
  await vi.waitUntil(() => said.mock.calls.flat().includes("Hello, Ada!"), {
    timeout: 60_000,
    interval: 5,
  });
  await engine.settled();
});

async function call(route: Route, request: Request): Promise<Response> {
  return route[request.method]?.(request) ?? new Response(null, { status: 405 });
}
