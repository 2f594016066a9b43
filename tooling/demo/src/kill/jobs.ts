import { defineJob, fixed, type JobDefinition } from "@evenkeel/jobs";
import { z } from "zod";

/** How a job of the kill run keeps its effect from being lost or doubled. */
export const kinds = ["plain", "transaction", "retry", "park", "single"] as const;

/** One of {@link kinds}. */
export type Kind = (typeof kinds)[number];

/** Whether a text names a kind. */
export function isKind(text: string): text is Kind {
  return kinds.some((kind) => kind === text);
}

const payload: z.ZodObject<{ n: z.ZodNumber }> = z.object({ n: z.number() });

/**
 * The jobs, by kind. Random kills must not use up their attempts, nor count as the jobs' own doing. But a `single` has
 * one attempt, and dies if its worker does while its handler runs.
 */
export const definitions: Readonly<Record<Kind, JobDefinition<typeof payload>>> = {
  plain: define("plain"),
  transaction: define("transaction"),
  retry: define("retry"),
  park: define("park"),
  single: define("single", 1),
};

function define(kind: Kind, maxAttempts = 1_000): JobDefinition<typeof payload> {
  return defineJob({
    type: `kill.${kind}`,
    version: 1,
    payload,
    retry: fixed({ maxAttempts, delayMs: 200 }),
    maxCrashes: 1_000,
  });
}
