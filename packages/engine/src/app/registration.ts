import { z } from "zod";

import type { JsonObject } from "../json.ts";

/** A registration as the SDK posts it. */
export interface Registration {
  readonly url: string;
  readonly appName: string;
  readonly sdk: string;
  readonly framework: string;
  readonly functions: readonly JsonObject[];
}

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
