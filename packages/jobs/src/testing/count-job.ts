import { z } from "zod";

import { defineJob, type JobDefinition } from "../definition/job-definition.ts";
import { fixed } from "../definition/retry-policy.ts";

const numberPayload: z.ZodObject<{ n: z.ZodNumber }> = z.object({ n: z.number() });

/** The job of most tests. */
export const countJob: JobDefinition<typeof numberPayload> = defineJob({
  type: "count",
  version: 1,
  payload: numberPayload,
  // No drain of a test sees the next attempt before the test makes it due.
  retry: fixed({ maxAttempts: 3, delayMs: 3_600_000 }),
});
