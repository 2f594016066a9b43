import { jsonValueSchema, type JsonValue } from "@evenkeel/core";
import { defineJob, exponential, type JobDefinition } from "@evenkeel/jobs";
import { z } from "zod";

/** The window that is fanned out. */
interface FanOutPayload {
  readonly schedule: string;
  readonly dispatchKey: string;
  readonly windowStart: string;
  readonly windowSeconds: number;
  readonly params?: Readonly<Record<string, JsonValue>> | undefined;
}

const fanOutPayload: z.ZodType<FanOutPayload> = z.object({
  schedule: z.string(),
  dispatchKey: z.string(),
  windowStart: z.iso.datetime(),
  windowSeconds: z.int().min(1),
  params: z.record(z.string(), jsonValueSchema).optional(),
});

/** The tenant that fan-outs belong to. */
export const fanOutTenant: string = "global";

/**
 * Fans a window out: it makes a job for each tenant of a schedule, page by page. It is one job per window, so that a
 * worker that dies is followed by another one, as with any job, which continues at the cursor on record.
 */
export const fanOutJob: JobDefinition<z.ZodType<FanOutPayload>> = defineJob({
  type: "evenkeel.fan-out",
  version: 1,
  payload: fanOutPayload,
  timeoutMs: 120_000,
  retry: exponential({ maxAttempts: 20 }),
});
