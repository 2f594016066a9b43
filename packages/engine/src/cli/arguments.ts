import { parseArgs } from "node:util";

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
  readonly pollMs: number;
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

  -u, --url <url>        serve endpoint of an app; repeat for several
  -p, --port <port>      port to listen on; 0 takes a free one (8288)
      --host <host>      address to listen on (127.0.0.1)
      --poll <seconds>   how often apps are asked for changes (5)
      --event-key <key>  event key to accept; repeat for several (any)
      --signing-key <k>  sign requests to apps with this key
      --seed <number>    seed of jitter and ids
      --json             log one JSON object per line
  -v, --verbose          log small steps too
      --allow-production start even with NODE_ENV=production
  -h, --help             show this text

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
  if (!isRemote) return readDev(values);
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
        url: { type: "string", short: "u", multiple: true },
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

function readDev(values: Values): DevArguments {
  return {
    command: "dev",
    urls: (values.url ?? []).map((url) => readUrl(url, "url")),
    port: readNumber(values.port, "port", 8288),
    host: values.host ?? "127.0.0.1",
    isJson: values.json === true,
    isVerbose: values.verbose === true,
    allowProduction: values["allow-production"] === true,
    pollMs: readNumber(values.poll, "poll", 5) * 1_000,
    seed: values.seed === undefined ? undefined : readNumber(values.seed, "seed", 1),
    signingKey: values["signing-key"],
    eventKeys: values["event-key"] ?? [],
  };
}
