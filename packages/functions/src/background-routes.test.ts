import { expect, test } from "vitest";

import { createRoutes } from "./background-routes.ts";

const named = (name: string) => async (): Promise<Response> => new Response(name);
const routes = createRoutes<[Request], Promise<Response>>({
  cron: named("cron"),
  cronOfSchedule: named("schedule"),
  receipts: named("receipts"),
  inngest: named("inngest"),
});

test.each([
  ["/api/cron/background-jobs", "cron"],
  ["/api/cron/background-jobs/?x=/inngest", "cron"],
  ["/cron/followups", "schedule"],
  ["/api/cron/receipts/background-jobs%7Cv1%7Cglobal", "receipts"],
  ["/api/inngest?fnId=shop-process", "inngest"],
  ["/inngest", "inngest"],
])("one route answers %s by %s", async (path, name) => {
  for (const method of ["GET", "POST", "PUT"] as const) {
    const response = await routes[method](new Request(`http://localhost${path}`, { method }));
    expect(await response.text()).toBe(name);
  }
});

test.each(["/", "//", "/api", "/api/cron", "/api/orders", "/api/inngest/more", "/api/cron/a/b"])(
  "%s is none of its routes",
  async (path) => {
    expect((await routes.GET(new Request(`http://localhost${path}`))).status).toBe(404);
  },
);
