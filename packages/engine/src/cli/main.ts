#!/usr/bin/env node
import { createEngine } from "../engine.ts";
import { ProductionRefusedError } from "../production-guard.ts";
import { ArgumentError, type DevArguments, readArguments, usage } from "./arguments.ts";
import { createLiveLog } from "./live-log.ts";
import { RemoteError, explainEvent, injectFault } from "./remote.ts";

async function runDev(options: DevArguments): Promise<void> {
  const engine = createEngine({
    logger: createLiveLog({
      write: (line) => void process.stdout.write(`${line}\n`),
      now: () => Date.now(),
      isJson: options.isJson,
      isVerbose: options.isVerbose,
    }),
    apps: options.urls,
    pollMs: options.pollMs,
    allowProduction: options.allowProduction,
    eventKeys: options.eventKeys,
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    ...(options.signingKey === undefined ? {} : { signingKey: options.signingKey }),
  });
  const { url } = await engine.listen({ port: options.port, host: options.host });
  const address = options.isJson
    ? JSON.stringify({ event: "engine.listening", url })
    : `evenkeel-engine listens at ${url} (set INNGEST_DEV=${url} in the app)`;
  process.stdout.write(`${address}\n`);
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
  await engine.close();
}

async function main(): Promise<number> {
  try {
    const options = readArguments(process.argv.slice(2));
    if (options === undefined) process.stdout.write(usage);
    else if (options.command === "dev") await runDev(options);
    else if (options.command === "fault") process.stdout.write(await injectFault(options));
    else process.stdout.write(await explainEvent(options));
    return 0;
  } catch (error) {
    if (error instanceof ArgumentError) {
      process.stderr.write(`evenkeel-engine: ${error.message}\n\n${usage}`);
      return 2;
    }
    if (
      error instanceof RemoteError ||
      error instanceof ProductionRefusedError ||
      (error instanceof Error && "code" in error)
    ) {
      process.stderr.write(`evenkeel-engine: ${error.message}\n`);
      return 1;
    }
    throw error;
  }
}

process.exit(await main());
