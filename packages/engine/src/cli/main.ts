#!/usr/bin/env node
import { setTimeout as sleep } from "node:timers/promises";

import { createEngine } from "../engine.ts";
import { ProductionRefusedError } from "../production-guard.ts";
import { ArgumentError, type DevArguments, readArguments, usage } from "./arguments.ts";
import { findCronSecret } from "./cron-secret.ts";
import { greeting } from "./greeting.ts";
import { createLiveLog } from "./live-log.ts";
import { RemoteError, explainEvent, injectFault } from "./remote.ts";
import { startTicker } from "./ticker.ts";

async function runDev(options: DevArguments): Promise<void> {
  const logger = createLiveLog({
    write: (line) => void process.stdout.write(`${line}\n`),
    now: () => Date.now(),
    isJson: options.isJson,
    isVerbose: options.isVerbose,
  });
  const { seed, signingKey, retryMs, maxCalls, tick } = options;
  const engine = createEngine({
    logger,
    apps: options.urls,
    pollMs: options.pollMs,
    allowProduction: options.allowProduction,
    eventKeys: options.eventKeys,
    allowedHosts: options.allowedHosts,
    ...(seed === undefined ? {} : { seed }),
    ...(signingKey === undefined ? {} : { signingKey }),
    ...(retryMs === undefined ? {} : { retryMs }),
    ...(maxCalls === undefined ? {} : { maxCalls }),
  });
  const { url } = await engine.listen({ port: options.port, host: options.host });
  const secret = tick === undefined ? undefined : findCronSecret(process.env, process.cwd());
  if (options.isJson) {
    process.stdout.write(`${JSON.stringify({ event: "engine.listening", url })}\n`);
    for (const reason of options.ignored) logger.warn("option.ignored", { reason });
  } else {
    process.stdout.write(`${greeting(options, url, secret)}\n`);
  }
  const ticker =
    tick === undefined
      ? undefined
      : startTicker({
          ...tick,
          secret: secret?.secret,
          logger,
          sleep: async (ms, signal) => {
            await sleep(ms, undefined, { signal }).catch(() => {});
          },
        });
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
  ticker?.stop();
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
      process.stderr.write(`evenkeel-engine: ${describeFailure(error)}\n`);
      return 1;
    }
    throw error;
  }
}

function describeFailure(error: Error): string {
  const isTaken = "code" in error && error.code === "EADDRINUSE";
  return isTaken
    ? `${error.message}: something listens there already; stop it, or give another --port`
    : error.message;
}

process.exit(await main());
