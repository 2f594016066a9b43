import { createHash } from "node:crypto";

import { defineJob, handleJob, type JobDefinition, type JobHandler } from "@evenkeel/jobs";
import { z } from "zod";

const payload: z.ZodObject<{ n: z.ZodNumber }> = z.object({ n: z.number() });

/** A job that keeps a core busy for 5 ms, as parsing, rendering and hashing do. */
export const busyJob: JobDefinition<typeof payload> = defineJob({
  type: "bench.busy",
  version: 1,
  payload,
});

const jobMs = 5;

/** Runs {@link busyJob}. */
export const busyHandler: JobHandler = handleJob(busyJob, async ({ payload: { n } }) => {
  const untilMs = performance.now() + jobMs;
  let digest = String(n);
  while (performance.now() < untilMs) digest = createHash("sha256").update(digest).digest("hex");
});
