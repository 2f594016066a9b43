import type { Scenario } from "./scenario.ts";
import { apiScenarios } from "./scenarios/api-scenarios.ts";
import { appScenarios } from "./scenarios/app-scenarios.ts";
import { concurrencyScenarios } from "./scenarios/concurrency-scenarios.ts";
import { eventScenarios } from "./scenarios/event-scenarios.ts";
import { exclusionScenarios } from "./scenarios/exclusion-scenarios.ts";
import { failureScenarios } from "./scenarios/failure-scenarios.ts";
import { groupingScenarios } from "./scenarios/grouping-scenarios.ts";
import { opcodeScenarios } from "./scenarios/opcode-scenarios.ts";
import { parallelScenarios } from "./scenarios/parallel-scenarios.ts";
import { rateScenarios } from "./scenarios/rate-scenarios.ts";
import { sessionScenarios } from "./scenarios/session-scenarios.ts";
import { stepScenarios } from "./scenarios/step-scenarios.ts";
import { triggerScenarios } from "./scenarios/trigger-scenarios.ts";
import { waitScenarios } from "./scenarios/wait-scenarios.ts";

const topics: Readonly<Record<string, readonly Scenario[]>> = {
  "event API": eventScenarios,
  sessions: sessionScenarios,
  triggers: triggerScenarios,
  steps: stepScenarios,
  waits: waitScenarios,
  "parallel steps": parallelScenarios,
  failures: failureScenarios,
  "flow control": [
    ...concurrencyScenarios,
    ...rateScenarios,
    ...groupingScenarios,
    ...exclusionScenarios,
  ],
  apps: [...appScenarios, ...opcodeScenarios],
  "HTTP interface": apiScenarios,
};

/** The conformance suite: every scenario with its topic. */
export const allScenarios: readonly (Scenario & { readonly topic: string })[] = Object.entries(
  topics,
).flatMap(([topic, scenarios]) => scenarios.map((scenario) => ({ ...scenario, topic })));
