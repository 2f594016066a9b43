import { expect, it } from "vitest";

import { drawLifecycle, lifecycleInReadme } from "../testing/lifecycle-diagram.ts";
import { jobTransitions } from "./job.ts";

it("is drawn in the README as its transition table says", async () => {
  const picture = drawLifecycle({
    title: "Job",
    begins: { SCHEDULED: "enqueue for later", PENDING: "enqueue" },
    transitions: jobTransitions,
    labels: {
      "SCHEDULED --> PENDING": "due",
      "SCHEDULED --> RUNNING": "the run of an isolated job",
      "SCHEDULED --> CANCELLED": "cancelled while it waits",
      "PENDING --> SCHEDULED": "put off, or no host knows its type",
      "PENDING --> RUNNING": "claim, new fence",
      "PENDING --> CANCELLED": "cancelled while it waits",
      "RUNNING --> RUNNING": "the run of an isolated job, new fence",
      "RUNNING --> SCHEDULED": "retry, snooze",
      "RUNNING --> PENDING": "release, lease expired",
      "RUNNING --> DEAD": "dead letter",
      "RUNNING --> CANCELLED": "cancelled while it runs",
    },
  });
  expect(await lifecycleInReadme("job")).toBe(picture);
});

it("has no picture with a label for a change that its table does not have", () => {
  const draw = (): string =>
    drawLifecycle({
      title: "Job",
      begins: { PENDING: "enqueue" },
      transitions: { ...jobTransitions, PENDING: [] },
      labels: { "PENDING --> RUNNING": "claim" },
    });
  expect(draw).toThrow("PENDING --> RUNNING");
});
