import { parseArgs } from "node:util";

import { parseDurationMs } from "../time/duration.ts";
import { describeIgnored, ignoredOptionTypes } from "./real-options.ts";

/** What the command line was asked to do; `undefined` asks for help. */
export type Arguments = DevArguments | FaultArguments | ExplainArguments | undefined;

/** `evenkeel-engine fault <name>`: injects a fault into an engine that runs. */
export interface FaultArguments {
  readonly command: "fault";
  readonly engineUrl: string;
  /** The body of `POST /dev/faults`. */
  readonly request: Readonly<Record<string, string | number>>;
}

/** `evenkeel-engine explain <event id>`: asks an engine that runs. */
export interface ExplainArguments {
  readonly command: "explain";
  readonly engineUrl: string;
  readonly eventId: string;
}

/** What `evenkeel-engine dev` was asked to do. */
export interface DevArguments {
  readonly command: "dev";
  readonly urls: readonly string[];
  readonly port: number;
  readonly host: string;
  readonly isJson: boolean;
  readonly isVerbose: boolean;
  readonly allowProduction: boolean;
  /** Infinity: an app is asked until it is up, and then no more. */
  readonly pollMs: number;
  readonly retryMs: number | undefined;
  readonly maxCalls: number | undefined;
  readonly allowedHosts: readonly string[];
  /** The cron route that is called, and how often; `undefined`: nothing is. */
  readonly tick: { readonly url: string; readonly everyMs: number } | undefined;
  /** What the command line asks for that has no effect: a line each. */
  readonly ignored: readonly string[];
  readonly seed: number | undefined;
  readonly signingKey: string | undefined;
  readonly eventKeys: readonly string[];
}

/** Arguments that make no sense; the message says which and what would. */
export class ArgumentError extends Error {
  override readonly name = "ArgumentError";
}

/** The help text of the command line. */
export const usage: string = `evenkeel-engine dev [options]
evenkeel-engine fault <name> [options]
evenkeel-engine explain <event id> [options]

Runs the engine as a local Inngest server. It keeps everything in memory.

  -u, --url <url>        serve endpoint of an app; repeat for several (also --sdk-url)
      --tick <time>      calls the app's cron route this often: 60s
      --tick-url <url>   the cron route (/api/cron/background-jobs of the first --url)
  -p, --port <port>      port to listen on; 0 takes a free one (8288)
      --host <host>      address to listen on (127.0.0.1)
      --allow-host <h>   lets pages of this host and requests to it in; repeat for several
      --poll <seconds>   how often apps are asked for changes (5; also --poll-interval)
      --no-poll          asks an app until it is up, and no more
      --retry-interval <seconds>  time between tries, the same each time (15 s to 2 h)
      --queue-workers <number>    most requests to apps at once (100)
      --event-key <key>  event key to accept; repeat for several (any)
      --signing-key <k>  sign requests to apps with this key
      --seed <number>    seed of jitter and ids
      --json             log one JSON object per line
  -v, --verbose          log small steps too
      --allow-production start even with NODE_ENV=production
  -h, --help             show this text

Ticks carry CRON_SECRET, of the environment or else of .env.local or .env in this folder.
Other options of "inngest dev" are taken and have no effect.

Fault and explain ask an engine that runs:

      --engine <url>     where it listens (http://127.0.0.1:8288)

Faults: duplicateEvents [--name], reorderEvents --within <time>, dropResponses, callTwice,
delayCalls --by <time>, refuseEvents --for <time> [--status], restart, clear.

      --times <number>   how many events or calls it meets (1; reorderEvents 2)
      --function <id>    meets calls of this function only, <app>-<function>
      --step <name>      meets calls that run this step only
`;

function readNumber(text: string | undefined, name: string, fallback: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) {
    throw new ArgumentError(`--${name} takes a number, not ${JSON.stringify(text)}.`);
  }
  return value;
}

const faultTexts = ["name", "within", "by", "for", "function", "step"] as const;
const faultNumbers = ["times", "status"] as const;

/**
 * Reads the command line.
 *
 * @throws ArgumentError for an unknown command, option or value.
 */
export function readArguments(args: readonly string[]): Arguments {
  const { values, positionals } = parse(args);
  if (values.help === true || positionals[0] === "help") return undefined;
  const [command, subject, ...rest] = positionals;
  const isRemote = command === "fault" || command === "explain";
  if (!isRemote && (command !== "dev" || subject !== undefined)) {
    throw new ArgumentError(
      `the command is "dev", "fault" or "explain", not ${JSON.stringify(positionals.join(" "))}.`,
    );
  }
  if (!isRemote) return readDev(values, Object.keys(values));
  if (subject === undefined || rest.length > 0) {
    throw new ArgumentError(
      command === "fault" ? "name one fault: fault dropResponses" : "name one event: explain <id>",
    );
  }
  const engineUrl = readUrl(values.engine ?? "http://127.0.0.1:8288", "engine");
  if (command === "explain") return { command, engineUrl, eventId: subject };
  const request: Record<string, string | number> = { fault: subject };
  for (const name of faultTexts) {
    const text = values[name];
    if (text !== undefined) request[name] = text;
  }
  for (const name of faultNumbers) {
    const text = values[name];
    if (text !== undefined) request[name] = readNumber(text, name, 0);
  }
  return { command, engineUrl, request };
}

type Values = ReturnType<typeof parse>["values"];

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        ...ignoredOptionTypes,
        url: { type: "string", short: "u", multiple: true },
        "sdk-url": { type: "string", multiple: true },
        tick: { type: "string" },
        "tick-url": { type: "string" },
        "allow-host": { type: "string", multiple: true },
        "poll-interval": { type: "string" },
        "no-poll": { type: "boolean" },
        "retry-interval": { type: "string" },
        "queue-workers": { type: "string" },
        "log-level": { type: "string", short: "l" },
        port: { type: "string", short: "p" },
        host: { type: "string" },
        poll: { type: "string" },
        "event-key": { type: "string", multiple: true },
        "signing-key": { type: "string" },
        seed: { type: "string" },
        json: { type: "boolean" },
        verbose: { type: "boolean", short: "v" },
        "allow-production": { type: "boolean" },
        help: { type: "boolean", short: "h" },
        engine: { type: "string" },
        name: { type: "string" },
        within: { type: "string" },
        by: { type: "string" },
        for: { type: "string" },
        function: { type: "string" },
        step: { type: "string" },
        times: { type: "string" },
        status: { type: "string" },
      },
    });
  } catch (error) {
    throw new ArgumentError(error instanceof Error ? error.message : String(error));
  }
}

function readUrl(text: string, name: string): string {
  const url = text.includes("://") ? text : `http://${text}`;
  if (URL.canParse(url)) return url;
  throw new ArgumentError(`--${name} takes a URL, not ${JSON.stringify(text)}.`);
}

function readDev(values: Values, given: readonly string[]): DevArguments {
  const urls = [...(values.url ?? []), ...(values["sdk-url"] ?? [])];
  const appUrls = urls.map((url) => readUrl(url, "url"));
  const poll = values.poll ?? values["poll-interval"];
  const retrySeconds = readNumber(values["retry-interval"], "retry-interval", 0);
  const workers = readNumber(values["queue-workers"], "queue-workers", 0);
  const tick = readTick(values.tick, values["tick-url"], appUrls);
  return {
    command: "dev",
    urls: appUrls,
    port: readNumber(values.port, "port", 8288),
    host: values.host ?? "127.0.0.1",
    isJson: values.json === true,
    isVerbose: values.verbose === true || /^(debug|trace)$/iu.test(values["log-level"] ?? ""),
    allowProduction: values["allow-production"] === true,
    pollMs:
      values["no-poll"] === true ? Number.POSITIVE_INFINITY : readNumber(poll, "poll", 5) * 1_000,
    retryMs: retrySeconds === 0 ? undefined : retrySeconds * 1_000,
    maxCalls: workers === 0 ? undefined : workers,
    seed: values.seed === undefined ? undefined : readNumber(values.seed, "seed", 1),
    signingKey: values["signing-key"],
    eventKeys: values["event-key"] ?? [],
    allowedHosts: values["allow-host"] ?? [],
    tick: tick === "ignored" ? undefined : tick,
    ignored: [
      ...describeIgnored(given),
      ...(tick === "ignored"
        ? ["--tick in milliseconds has no effect: the engine waits for no tick of its own"]
        : []),
    ],
  };
}

/** The real command's `--tick` is a number, the milliseconds between looks at its queue; ours has a unit. */
function readTick(
  text: string | undefined,
  url: string | undefined,
  appUrls: readonly string[],
): DevArguments["tick"] | "ignored" {
  if (text === undefined) {
    if (url === undefined) return undefined;
    throw new ArgumentError("--tick-url needs --tick, as in --tick 60s.");
  }
  if (/^\d+$/u.test(text)) return "ignored";
  const everyMs = parseDurationMs(text);
  if (everyMs === undefined || everyMs < 1_000) {
    throw new ArgumentError(`--tick takes a time of 1s or more, not ${JSON.stringify(text)}.`);
  }
  if (url !== undefined) return { url: readUrl(url, "tick-url"), everyMs };
  const [appUrl] = appUrls;
  if (appUrl === undefined) {
    throw new ArgumentError("--tick needs the app: --url, or --tick-url for its cron route.");
  }
  return { url: new URL("/api/cron/background-jobs", appUrl).href, everyMs };
}
