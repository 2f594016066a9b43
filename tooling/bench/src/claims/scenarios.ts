import { backlogScenarios } from "./backlogs.ts";
import { drainScenarios } from "./drain.ts";
import { limitScenarios } from "./limits.ts";
import type { Scenario } from "./scenario.ts";

/** Everything that is measured of the claim. */
export const scenarios: readonly Scenario[] = [
  ...drainScenarios,
  ...backlogScenarios,
  ...limitScenarios,
];
