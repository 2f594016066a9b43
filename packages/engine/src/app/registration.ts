import { z } from "zod";
import type { Registration } from "./app-registry.ts";

const registrationSchema = z.object({
  url: z.string(),
  appName: z.string().optional(),
  app_id: z.string().optional(),
  sdk: z.string().default(""),
  framework: z.string().default(""),
  functions: z.array(z.record(z.string(), z.json())).default([]),
});

/** Reads what an SDK sends when it registers, out of band or in band; `undefined` when it is neither. */
export function readRegistration(body: unknown): Registration | undefined {
  const parsed = registrationSchema.safeParse(body);
  if (!parsed.success) return undefined;
  const { data } = parsed;
  return {
    url: data.url,
    appName: data.appName ?? data.app_id ?? "",
    sdk: data.sdk,
    framework: data.framework,
    functions: data.functions,
  };
}
