import { createHash } from "node:crypto";

import type { BackgroundConfig, ServerFunction, ServerRun, ServerView } from "@evenkeel/dispatch";
import { maintenanceRequested } from "@evenkeel/events";
import { z } from "zod";

import { comparableAddress } from "./address.ts";

/** What the reader of a server's API works with. */
export interface ServerLookOptions {
  readonly appId: string;
  readonly config: BackgroundConfig["inngest"];
  readonly fetch: typeof fetch;
}

const devInfo = z.object({
  functions: z
    .array(
      z.object({
        slug: z.string().optional(),
        url: z.string().optional(),
        steps: z.unknown().optional(),
      }),
    )
    .nullish(),
  handlers: z
    .array(
      z.object({
        sdk: z.object({
          appName: z.string(),
          url: z.string().optional(),
          sdk: z.string().optional(),
        }),
      }),
    )
    .nullish(),
});
const eventList = z.object({
  data: z.array(z.object({ internal_id: z.string(), data: z.looseObject({}).nullish() })).nullish(),
});
const runList = z.object({
  data: z.array(z.object({ status: z.string(), output: z.unknown() })).nullish(),
});
const functionList = z.object({
  data: z.array(z.object({ slug: z.string().optional(), id: z.string().optional() })).nullish(),
});

/** Asks what the server knows of the app, and of the handshake's event. */
export type ServerLook = (
  asked: { readonly functionId: string; readonly sentKey: string | null },
  options: { readonly signal: AbortSignal },
) => Promise<ServerView>;

/**
 * Creates the reader of an Inngest server's API: the development server's `/dev`, and `/v1` of any server. What a
 * server does not answer is left out of the view.
 */
export function createServerLook(options: ServerLookOptions): ServerLook {
  const { appId, config } = options;
  const base = config.devUrl ?? config.baseUrl ?? (config.dev ? developmentUrl : cloudUrl);
  const headers = authorizationOf(config.signingKey);

  return async ({ functionId, sentKey }, { signal }) => {
    let isReachable = false;
    const ask = async <T>(path: string, shape: z.ZodType<T>): Promise<Answer<T>> => {
      try {
        const response = await options.fetch(new URL(path, base), { headers, signal });
        isReachable = true;
        const parsed = shape.safeParse(await response.json().catch(() => undefined));
        return { status: response.status, body: response.ok ? parsed.data : undefined };
      } catch {
        return { status: undefined, body: undefined };
      }
    };
    const [app, runs] = await Promise.all([
      lookAtApp(ask, appId, functionId, base !== cloudUrl),
      lookAtRuns(ask, sentKey),
    ]);
    return { ...app, ...runs, isReachable };
  };
}

const developmentUrl = "http://localhost:8288";
const cloudUrl = "https://api.inngest.com";

interface Answer<T> {
  readonly status: number | undefined;
  readonly body: T | undefined;
}
type Ask = <T>(path: string, shape: z.ZodType<T>) => Promise<Answer<T>>;

async function lookAtApp(
  ask: Ask,
  appId: string,
  functionId: string,
  hasDevInfo: boolean,
): Promise<Pick<ServerView, "functions" | "sdk">> {
  const { body } = hasDevInfo ? await ask("/dev", devInfo) : { body: undefined };
  if (body?.functions !== undefined && body.functions !== null) {
    const functions = body.functions.flatMap((fn): ServerFunction[] => {
      if (fn.slug?.startsWith(`${appId}-`) !== true) return [];
      const url = fn.url ?? stepUrl(fn.steps);
      return [{ id: fn.slug, ...(url === undefined ? {} : { url: toComparable(url) }) }];
    });
    const sdk = body.handlers?.find((handler) => handler.sdk.appName === appId)?.sdk.sdk;
    return {
      functions: functions.length === 0 ? null : functions,
      ...(sdk === undefined ? {} : { sdk }),
    };
  }
  const listed = await ask(`/v1/apps/${encodeURIComponent(appId)}/functions`, functionList);
  if (listed.status === 404) return { functions: null };
  const ids = listed.body?.data?.flatMap(({ slug }) => (slug === undefined ? [] : [slug]));
  // Some servers name functions without the app's id.
  return ids === undefined || ids.length === 0
    ? {}
    : {
        functions: ids.map((id) => ({
          id: id === functionId.slice(appId.length + 1) ? functionId : id,
        })),
      };
}

async function lookAtRuns(ask: Ask, sentKey: string | null): Promise<Pick<ServerView, "runs">> {
  if (sentKey === null) return {};
  const name = encodeURIComponent(maintenanceRequested.name);
  const events = await ask(`/v1/events?name=${name}&limit=50`, eventList);
  if (events.body === undefined) return {};
  const event = events.body.data?.find(({ data }) => data?.["dispatchKey"] === sentKey);
  if (event === undefined) return { runs: null };
  const runs = await ask(`/v1/events/${encodeURIComponent(event.internal_id)}/runs`, runList);
  return runs.body === undefined ? {} : { runs: (runs.body.data ?? []).map(describeRun) };
}

function describeRun({ status, output }: { status: string; output?: unknown }): ServerRun {
  const text = output === undefined || output === null ? "" : JSON.stringify(output);
  if (/unauthori[sz]ed|\b401\b|invalid signature/iu.test(text)) {
    return { status, callError: "unauthorized" };
  }
  return /unable to reach sdk/iu.test(text) ? { status, callError: "unreachable" } : { status };
}

/** The address of a function's first step, as a real server shows it. */
function stepUrl(steps: unknown): string | undefined {
  const shape = z.array(z.object({ uri: z.string().optional() }));
  return shape.safeParse(steps).data?.[0]?.uri;
}

function toComparable(url: string): string {
  return URL.canParse(url) ? comparableAddress(new URL(url)) : url;
}

/** A signing key is shown to the API as its hash. */
function authorizationOf(signingKey: string | undefined): Record<string, string> {
  if (signingKey === undefined) return {};
  const prefix = /^signkey-[\w]+-/u.exec(signingKey)?.[0] ?? "";
  const hash = createHash("sha256").update(Buffer.from(signingKey.slice(prefix.length), "hex"));
  return { authorization: `Bearer ${prefix}${hash.digest("hex")}` };
}
