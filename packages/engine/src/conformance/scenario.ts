import { randomBytes } from "node:crypto";

import { Inngest } from "inngest";
import { serve } from "inngest/edge";

import type { Handler } from "../transport/transport.ts";
import type { ConformanceHost, HostOptions } from "./host.ts";

/** What `serve` takes as functions. */
export type Functions = Parameters<typeof serve>[0]["functions"];

/** A run as the runs API shows it, as far as scenarios look. */
export interface RunView {
  readonly run_id: string;
  readonly status: string;
  readonly output?: unknown;
  readonly event_id: string;
  readonly function_id: string;
  readonly ended_at: string | null;
  readonly [field: string]: unknown;
}

/** What a scenario works with: one app of its own on a server that it may share. */
export interface ScenarioContext {
  /** Unique to this run of the scenario; the app's id. */
  readonly id: string;
  readonly client: Inngest;
  /** An event name that no other scenario uses. */
  name(text: string): string;
  serve(functions: Functions): Promise<void>;
  serveHandler(handler: Handler): Promise<void>;
  /** Sends events through the SDK; returns their internal ids. */
  send(event: SentEvent | SentEvent[]): Promise<string[]>;
  /** Asks the server's HTTP interface; the body is sent as JSON unless it is text. */
  ask(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<{ status: number; json: Record<string, unknown> }>;
  runsOf(eventId: string): Promise<RunView[]>;
  /** Waits until an event has started `count` runs and all have ended. */
  ended(eventId: string, options?: { count?: number; withinMs?: number }): Promise<RunView[]>;
  /** Does something again and again until the event's run has ended: a busy server waits late. */
  endedBy(eventId: string, act: () => Promise<unknown>): Promise<RunView[]>;
  until: ConformanceHost["until"];
  pass(ms: number): Promise<void>;
  now(): number;
  work(): Promise<void>;
}

/** An event as scenarios send it. */
export interface SentEvent {
  readonly name: string;
  readonly data?: Record<string, unknown>;
  readonly id?: string;
  readonly ts?: number;
  readonly v?: string;
  readonly user?: Record<string, unknown>;
  readonly meta?: { readonly sessions?: Record<string, string | number | null> };
}

/** One behaviour that the engine and the real server share. */
export interface Scenario {
  /** Completes "the server …". */
  readonly name: string;
  /** How its server is started; by default as every scenario's. */
  readonly host?: HostOptions;
  run(t: ScenarioContext): Promise<void>;
}

/** Writes a {@link Scenario}. */
export function scenario(name: string, run: Scenario["run"], host?: HostOptions): Scenario {
  return host === undefined ? { name, run } : { name, run, host };
}

/** Makes `count` of the scenario's events `a`, each with the data that its index gives. */
export function manyEvents(
  t: ScenarioContext,
  count: number,
  data: (index: number) => Record<string, unknown>,
): { name: string; data: Record<string, unknown> }[] {
  return Array.from({ length: count }, (_value, index) => ({
    name: t.name("a"),
    data: data(index),
  }));
}

const silent = { info() {}, warn() {}, error() {}, debug() {} };

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

async function askHost(
  host: ConformanceHost,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; json: Record<string, unknown> }> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const response = await host.fetch(`${host.baseUrl}${path}`, {
    method,
    headers: { "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: text }),
  });
  const read = await response.text();
  try {
    const json: unknown = JSON.parse(read);
    return { status: response.status, json: isRecord(json) ? json : { value: json } };
  } catch {
    return { status: response.status, json: { text: read } };
  }
}

/** Creates a scenario's context; `isCheckpointing` is the SDK's default, `true`. */
export function createScenarioContext(
  host: ConformanceHost,
  options: { readonly isCheckpointing?: boolean } = {},
): ScenarioContext {
  const id = `c${randomBytes(5).toString("hex")}`;
  const client = new Inngest({
    id,
    isDev: true,
    baseUrl: host.baseUrl,
    fetch: host.fetch,
    logger: silent,
    ...(options.isCheckpointing === false ? { checkpointing: false } : {}),
  });

  const results = new Map<string, unknown>();
  let asked = 0;
  let isWatching = false;

  /** Asks anew: the real server caches responses by their whole URL. */
  async function askAnew(path: string): Promise<unknown> {
    asked += 1;
    const { json } = await askHost(host, "GET", `${path}?asked=${asked}`);
    return json["data"];
  }

  async function runsOf(eventId: string): Promise<RunView[]> {
    const listed = await askAnew(`/v1/events/${eventId}/runs`);
    const runs: RunView[] = [];
    for (const each of Array.isArray(listed) ? listed : []) {
      const run = await askAnew(`/v1/runs/${String(Object(each).run_id)}`);
      // The shape is the runs API's; scenarios assert on it.
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion
      if (isRecord(run)) runs.push(run as unknown as RunView);
    }
    return runs;
  }

  /** Hears of every end: the real server's runs API leaves out what a run returned in a `RunComplete`. */
  function watchEnds() {
    const trigger = {
      event: "inngest/function.finished",
      if: `event.data.function_id.startsWith("${id}-")`,
    };
    return client.createFunction({ id: "ends", triggers: [trigger] }, ({ event }) => {
      const data: Record<string, unknown> = event.data;
      results.set(String(data["run_id"]), data["result"] ?? null);
    });
  }

  function withResult(run: RunView): RunView {
    return run.status === "Completed" && results.has(run.run_id)
      ? { ...run, output: results.get(run.run_id) }
      : run;
  }

  function ended(
    eventId: string,
    { count = 1, withinMs = 20_000 }: { count?: number; withinMs?: number } = {},
  ): Promise<RunView[]> {
    return host.until(async () => {
      const runs = await runsOf(eventId);
      const isDone = runs.length >= count && runs.every(isKnownToEnd);
      return isDone ? runs.map(withResult) : undefined;
    }, withinMs);
  }

  function isKnownToEnd(run: RunView): boolean {
    const needsResult = isWatching && run.status === "Completed";
    return run.ended_at !== null && (!needsResult || results.has(run.run_id));
  }

  return {
    id,
    client,
    name: (text) => `${id}/${text}`,
    serve(functions) {
      isWatching = true;
      return host.serve(id, serve({ client, functions: [...functions, watchEnds()] }));
    },
    serveHandler: (handler) => host.serve(id, handler),
    send: async (event) => (await client.send(event)).ids,
    ask: (method, path, body, headers) => askHost(host, method, path, body, headers),
    runsOf,
    ended,
    async endedBy(eventId, act) {
      await host.until(async () => {
        const runs = await runsOf(eventId);
        if (runs.some((run) => run.ended_at !== null)) return true;
        await act();
        await host.pass(1_000);
        return undefined;
      }, 30_000);
      return ended(eventId);
    },
    until: (check, withinMs) => host.until(check, withinMs),
    pass: (ms) => host.pass(ms),
    now: () => host.now(),
    work: () => host.work(),
  };
}
