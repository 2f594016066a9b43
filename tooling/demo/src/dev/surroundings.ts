import { randomBytes } from "node:crypto";
import { createServer } from "node:net";
import { join } from "node:path";

import { root } from "../paths.ts";
import { startService, untilUp, type Service } from "./service.ts";

/** What runs beside the database: the Inngest server, the worker and web. */
export interface Surroundings {
  readonly engineUrl: string;
  readonly workerUrl: string;
  readonly webUrl: string;
  readonly cronSecret: string;
  readonly services: readonly Service[];
}

/** The packages' sources instead of what was built of them. */
const fromSource = "--conditions=@evenkeel/source";

/**
 * Starts engine, worker and web as a developer wants them: the worker starts again when it or a package changes, web
 * takes in what changes, and the engine ticks every minute. `register` hears of each at once, to end it.
 *
 * @throws Error with the last lines of what did not come up.
 */
export async function startSurroundings(options: {
  readonly databaseUrl: string;
  readonly logFolder: string;
  readonly signal: AbortSignal;
  readonly register: (service: Service) => void;
}): Promise<Surroundings> {
  const { databaseUrl, logFolder, signal, register } = options;
  const webPort = await portFrom(3000);
  const workerPort = await portFrom(webPort + 1);
  const enginePort = await portFrom(8288);
  const engineUrl = `http://127.0.0.1:${enginePort}`;
  const workerUrl = `http://127.0.0.1:${workerPort}`;
  const webUrl = `http://127.0.0.1:${webPort}`;
  const cronSecret = randomBytes(24).toString("hex");
  const environment = {
    DATABASE_URL: databaseUrl,
    INNGEST_DEV: engineUrl,
    CRON_SECRET: cronSecret,
    INNGEST_ENV: "development",
    NODE_ENV: "development",
    NEXT_TELEMETRY_DISABLED: "1",
  };
  const services: Service[] = [];
  const start = (name: string, cwd: string, args: readonly string[], more = {}): Service => {
    const logPath = join(logFolder, `${name}.log`);
    const own = { ...environment, ...more };
    const service = startService({ name, args, cwd, environment: own, logPath });
    services.push(service);
    register(service);
    return service;
  };

  const cli = join(root, "packages", "engine", "src", "cli", "main.ts");
  const serving = ["--port", String(enginePort), "--url", `${workerUrl}/api/inngest`];
  const ticking = ["--tick", "60s", "--tick-url", `${webUrl}/api/cron/background-jobs`];
  const engine = start("engine", root, [cli, "dev", "--poll", "2", ...serving, ...ticking]);
  await untilUp(engine, `${engineUrl}/health`, signal);
  const worker = start(
    "worker",
    join(root, "apps", "worker"),
    [fromSource, "--watch", "--watch-preserve-output", join("src", "main.ts")],
    { HOST: "127.0.0.1", PORT: String(workerPort) },
  );
  await untilUp(worker, `${workerUrl}/readyz`, signal);
  const next = join(root, "apps", "web", "node_modules", "next", "dist", "bin", "next");
  const web = start("web", join(root, "apps", "web"), [
    next,
    "dev",
    "--hostname=127.0.0.1",
    `--port=${webPort}`,
  ]);
  await untilUp(web, `${webUrl}/api/health`, signal);
  return { engineUrl, workerUrl, webUrl, cronSecret, services };
}

/** The first free port of the loopback address, from one on. */
async function portFrom(first: number): Promise<number> {
  for (let port = first; port < first + 100; port += 1) {
    if (await isFree(port)) return port;
  }
  throw new Error(`No port from ${first} to ${first + 99} is free on 127.0.0.1.`);
}

async function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
