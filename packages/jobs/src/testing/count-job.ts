import { z } from "zod";

import { defineJob, type JobDefinition } from "../definition/job-definition.ts";
import { exponential } from "../definition/retry-policy.ts";

const numberPayload: z.ZodObject<{ n: z.ZodNumber }> = z.object({ n: z.number() });

/** The job of most tests. */
export const countJob: JobDefinition<typeof numberPayload> = defineJob({
  type: "count",
  version: 1,
  payload: numberPayload,
  retry: exponential({ maxAttempts: 3, baseMs: 1_000 }),
});
