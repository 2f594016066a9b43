import { parseArgs } from "node:util";

/** What `evenkeel-engine dev` was asked to do. */
export interface DevArguments {
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
`;

function readNumber(text: string | undefined, name: string, fallback: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) {
    throw new ArgumentError(`--${name} takes a number, not ${JSON.stringify(text)}.`);
  }
  return value;
}

/**
 * Reads the command line; `undefined` asks for help.
 *
 * @throws ArgumentError for an unknown command, option or value.
 */
export function readArguments(args: readonly string[]): DevArguments | undefined {
  let parsed;
  try {
    parsed = parseArgs({
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
      },
    });
  } catch (error) {
    throw new ArgumentError(error instanceof Error ? error.message : String(error));
  }
  const { values, positionals } = parsed;
  if (values.help === true || positionals[0] === "help") return undefined;
  if (positionals[0] !== "dev" || positionals.length > 1) {
    throw new ArgumentError(`the command is "dev", not ${JSON.stringify(positionals.join(" "))}.`);
  }
  const urls = (values.url ?? []).map((url) => (url.includes("://") ? url : `http://${url}`));
  for (const url of urls) {
    if (!URL.canParse(url))
      throw new ArgumentError(`--url takes a URL, not ${JSON.stringify(url)}.`);
  }
  return {
    urls,
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
