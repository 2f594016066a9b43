import { afterEach, describe, expect, it } from "vitest";

import { allScenarios } from "./all-scenarios.ts";
import { createEngineHost } from "./engine-host.ts";
import type { ConformanceHost } from "./host.ts";
import { createScenarioContext } from "./scenario.ts";

const open: ConformanceHost[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((host) => host.close()));
});

describe.each([
  ["as the SDK works by default", true],
  ["without checkpointing", false],
])("the engine, %s", (_how, isCheckpointing) => {
  it.each(allScenarios)("$topic: $name", async (scenario) => {
    const host = createEngineHost(scenario.host);
    open.push(host);
    const t = createScenarioContext(host, { isCheckpointing });
    await expect(scenario.run(t)).resolves.toBeUndefined();
  });
});

it("has scenarios of different names, sixty at least", () => {
  const names = allScenarios.map((each) => `${each.topic}: ${each.name}`);
  expect(new Set(names).size).toBe(names.length);
  expect(names.length).toBeGreaterThanOrEqual(60);
});
