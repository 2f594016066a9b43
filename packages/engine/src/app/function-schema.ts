import { z } from "zod";

type Text = string | null | undefined;

/** A concurrency limit as an app registers it. */
interface ConcurrencyInput {
  limit: number;
  key?: Text;
  scope?: "fn" | "env" | "account" | null | undefined;
}

/** A function as an app registers it, before its expressions and durations are checked. */
export interface FunctionInput {
  id: string;
  name: string;
  triggers?:
    | ({ cron: string; jitter?: Text } | { event: string; expression?: Text })[]
    | null
    | undefined;
  steps: Record<
    string,
    { id: string; runtime: { url: string }; retries?: { attempts: number } | null | undefined }
  >;
  retries?: number | null | undefined;
  /** Limits on requests, `step`, and on whole runs, `fn`; an app may write one limit or a number instead. */
  concurrency?:
    | { step: ConcurrencyInput[]; fn: { limit: number; key?: Text }[] }
    | null
    | undefined;
  priority?: { run?: Text } | null | undefined;
  batchEvents?: { maxSize: number; timeout: string; key?: Text; if?: Text } | null | undefined;
  idempotency?: Text;
  rateLimit?: { limit: number; period: string; key?: Text } | null | undefined;
  throttle?: { limit: number; period: string; burst: number; key?: Text } | null | undefined;
  debounce?: { period: string; key?: Text; timeout?: Text } | null | undefined;
  timeouts?: { start?: Text; finish?: Text } | null | undefined;
  cancel?: { event: string; timeout?: Text; if?: Text }[] | null | undefined;
  singleton?: { key?: Text; mode: "skip" | "cancel" } | null | undefined;
}

const concurrencyLimit = z.object({
  limit: z.number(),
  key: z.string().nullish(),
  scope: z.enum(["fn", "env", "account"]).nullish(),
});
const concurrencySchema = z.union([
  z.number().transform((limit) => ({ step: [{ limit }], fn: [] })),
  z.array(concurrencyLimit).transform((step) => ({ step, fn: [] })),
  concurrencyLimit.transform((limit) => ({ step: [limit], fn: [] })),
  z.object({
    fn: z.array(z.object({ limit: z.number(), key: z.string().nullish() })).default([]),
    step: z.array(concurrencyLimit).default([]),
  }),
]);

/** Reads a function as an app registers it. */
export const functionSchema: z.ZodType<FunctionInput> = z.object({
  id: z.string().default(""),
  name: z.string().default(""),
  triggers: z
    .array(
      z.union([
        z.object({ cron: z.string(), jitter: z.string().nullish() }),
        z.object({ event: z.string(), expression: z.string().nullish() }),
      ]),
    )
    .nullish(),
  steps: z.record(
    z.string(),
    z.object({
      id: z.string(),
      runtime: z.object({ url: z.string() }),
      retries: z.object({ attempts: z.number() }).nullish(),
    }),
  ),
  retries: z.number().nullish(),
  concurrency: concurrencySchema.nullish(),
  priority: z.object({ run: z.string().nullish() }).nullish(),
  batchEvents: z
    .object({
      maxSize: z.number(),
      timeout: z.string(),
      key: z.string().nullish(),
      if: z.string().nullish(),
    })
    .nullish(),
  idempotency: z.string().nullish(),
  rateLimit: z
    .object({ limit: z.number(), period: z.string(), key: z.string().nullish() })
    .nullish(),
  throttle: z
    .object({
      limit: z.number().default(1),
      period: z.string(),
      burst: z.number().default(0),
      key: z.string().nullish(),
    })
    .nullish(),
  debounce: z
    .object({ period: z.string(), key: z.string().nullish(), timeout: z.string().nullish() })
    .nullish(),
  timeouts: z.object({ start: z.string().nullish(), finish: z.string().nullish() }).nullish(),
  cancel: z
    .array(z.object({ event: z.string(), timeout: z.string().nullish(), if: z.string().nullish() }))
    .nullish(),
  singleton: z
    .object({ key: z.string().nullish(), mode: z.enum(["skip", "cancel"]).default("skip") })
    .nullish(),
});
