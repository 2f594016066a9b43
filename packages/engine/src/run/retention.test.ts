import { expect, it } from "vitest";

import { createSdkApp } from "../testing/sdk-app.ts";

it("keeps the newest ended runs and events, and every run that is under way", async () => {
  const { engine } = createSdkApp(
    (inngest) => [
      inngest.createFunction({ id: "quick", triggers: [{ event: "a" }] }, () => 1),
      inngest.createFunction({ id: "slow", triggers: [{ event: "b" }] }, async ({ step }) => {
        await step.sleep("nap", "1h");
      }),
    ],
    { retention: { runs: 5, events: 20, journal: 10 } },
  );
  await engine.send({ name: "b" });
  for (let n = 0; n < 30; n += 1) await engine.send({ name: "a", data: { n } });
  await engine.settled();
  expect(engine.runs({ function: "quick" })).toHaveLength(5);
  expect(engine.runs({ function: "slow" })).toMatchObject([{ status: "Running" }]);
  expect(engine.events()).toHaveLength(20);
  expect(engine.journal()).toHaveLength(10);
  await engine.advance("2h");
  expect(engine.runs({ function: "slow" })).toMatchObject([{ status: "Completed" }]);
});
