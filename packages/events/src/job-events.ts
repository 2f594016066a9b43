import { lanes, tenantIdSchema } from "@evenkeel/core";
import { z } from "zod";

const jobRequestShape = {
  /** The job's id in the ledger. */
  jobId: z.string().regex(/^\d{1,18}$/u),
  /** The fence of the claim that delegated it: once another claim was made, the request is void. */
  fence: z.string().regex(/^\d{1,18}$/u),
  /** The tenant it belongs to: the concurrency of its runs is counted per tenant. */
  tenantId: tenantIdSchema,
  type: z.string().min(1).max(100),
  lane: z.enum(lanes),
  schemaVersion: z.literal(1),
  /** Follows the work that the job is part of. */
  correlationId: z.string().min(1).max(200).optional(),
};

/** The zod schema of version 1 of {@link jobRequested}. Unknown fields are dropped. */
export const jobRequestSchema: z.ZodObject<typeof jobRequestShape> = z.object(jobRequestShape);

/** The data of {@link jobRequested}, version 1. */
export type JobRequestData = z.output<typeof jobRequestSchema>;

/** Asks for one isolated job to be run, as a run of its own. */
export const jobRequested: {
  readonly name: "background/job.requested";
  readonly version: number;
  readonly schema: typeof jobRequestSchema;
} = { name: "background/job.requested", version: 1, schema: jobRequestSchema };
