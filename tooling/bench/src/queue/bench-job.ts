import { defineJob, enqueueMany, type JobDefinition } from "@evenkeel/jobs";
import type { Pool } from "pg";
import { z } from "zod";

import { inBulk } from "./contender.ts";

const payload: z.ZodObject<{ n: z.ZodNumber }> = z.object({ n: z.number() });

/** The job that ours enqueues and runs. */
export const benchJob: JobDefinition<typeof payload> = defineJob({
  type: "bench",
  version: 1,
  payload,
});

const tenants = 50;

/** The tenant of the job of this number: all in turn. */
export function tenantOf(n: number): string {
  return `tenant-${n % tenants}`;
}

/** Stores so many jobs of {@link benchJob}, over all tenants in turn. */
export async function enqueueBenchJobs(pool: Pool, count: number): Promise<void> {
  await inBulk(count, (numbers) =>
    enqueueMany(
      pool,
      benchJob,
      numbers.map((n) => ({ tenantId: tenantOf(n), payload: { n } })),
    ),
  );
}
