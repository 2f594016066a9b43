import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { allScenarios } from "./all-scenarios.ts";
import type { ConformanceHost } from "./host.ts";
import { findInngestServer, startInngestHost } from "./inngest-host.ts";
import { createScenarioContext } from "./scenario.ts";

const binary = findInngestServer(process.env);
const isRequired = process.env["EVENKEEL_REQUIRE_INNGEST"] === "1";
const notice =
  "no Inngest server found: set INNGEST_CLI_BIN to its binary, or put inngest-cli on the PATH";

it("finds a real Inngest server to compare with", (context) => {
  if (binary === undefined && !isRequired) context.skip(notice);
  expect(binary, `${notice} (EVENKEEL_REQUIRE_INNGEST=1)`).toBeDefined();
});

describe.skipIf(binary === undefined)("a real Inngest server", () => {
  let host: ConformanceHost;
  beforeAll(async () => {
    host = await startInngestHost(binary ?? { command: "", version: "" }, process.env);
  });
  afterAll(() => host.close());

  it.concurrent.each(allScenarios.filter((each) => each.host === undefined))(
    "$topic: $name",
    { timeout: 600_000 },
    async (scenario) => {
      await expect(scenario.run(createScenarioContext(host))).resolves.toBeUndefined();
    },
  );
});

describe.skipIf(binary === undefined)("a real Inngest server of its own", () => {
  it.each(allScenarios.filter((each) => each.host !== undefined))(
    "$topic: $name",
    { timeout: 600_000 },
    async (scenario) => {
      const own = await startInngestHost(
        binary ?? { command: "", version: "" },
        process.env,
        scenario.host,
      );
      try {
        await expect(scenario.run(createScenarioContext(own))).resolves.toBeUndefined();
      } finally {
        await own.close();
      }
    },
  );
});
