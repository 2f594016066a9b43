import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type Server, createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { afterEach, beforeEach, describe, expect, it } from "vitest";

const main = fileURLToPath(new URL("main.ts", import.meta.url));

let folder: string;
const ends: (() => Promise<unknown>)[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "engine-cli-"));
});
afterEach(async () => {
  await Promise.all(ends.splice(0).map((end) => end()));
  await rm(folder, { recursive: true });
});

/** A running command, and the lines that it printed. */
class Command {
  readonly lines: string[] = [];
  readonly child: ChildProcess;
  #waiting: (() => void)[] = [];

  constructor(args: readonly string[], environment: Record<string, string> = {}) {
    const { CRON_SECRET: _none, ...inherited } = process.env;
    this.child = spawn(process.execPath, [main, "dev", "--port", "0", ...args], {
      cwd: folder,
      env: { ...inherited, NODE_ENV: "development", ...environment },
      stdio: ["ignore", "pipe", "inherit"],
    });
    if (this.child.stdout === null) throw new Error("it has no output");
    createInterface({ input: this.child.stdout }).on("line", (line) => {
      this.lines.push(line);
      for (const wake of this.#waiting.splice(0)) wake();
    });
    ends.push(async () => {
      if (this.child.exitCode !== null) return;
      this.child.kill("SIGTERM");
      await once(this.child, "exit");
    });
  }

  /** Waits for a line that fits. */
  async line(pattern: RegExp): Promise<string> {
    for (;;) {
      const found = this.lines.find((line) => pattern.test(line));
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async url(): Promise<string> {
    const line = await this.line(/listen/u);
    return /http:\/\/[\d.:]+/u.exec(line)?.[0] ?? "";
  }
}

/** An app's cron route that takes one secret. Its port stays the same when it starts again. */
class CronRoute {
  readonly ticks: string[] = [];
  port = 0;
  #server: Server | undefined;

  async start(secret: string): Promise<void> {
    const server = createServer((request, response) => {
      this.ticks.push(`${request.method} ${request.url}`);
      const isRight = request.headers.authorization === `Bearer ${secret}`;
      response.writeHead(isRight ? 202 : 401, { "content-type": "application/json" });
      response.end(JSON.stringify(isRight ? { mode: "dispatch-only" } : {}));
    });
    server.listen(this.port, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    if (typeof address === "object" && address !== null) this.port = address.port;
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  }
}

async function setup(secret = "hunter2") {
  const route = new CronRoute();
  await route.start(secret);
  ends.push(() => route.stop());
  return route;
}

describe("evenkeel-engine dev --tick", () => {
  it("ticks the app's cron route, and says so once while it is not up", async () => {
    const route = await setup();
    await route.stop();
    const app = `http://127.0.0.1:${route.port}/api/inngest`;
    const command = new Command(["--url", app, "--tick", "1s"], { CRON_SECRET: " hunter2\n" });
    await command.line(/ticks begin when it is up/u);
    await route.start("hunter2");
    await command.line(/tick: dispatch-only \(202\)/u);
    await command.line(/tick: dispatch-only \(202\)/u);
    expect(new Set(route.ticks)).toContain("POST /api/cron/background-jobs");
    expect(command.lines.filter((line) => line.includes("ticks begin"))).toHaveLength(1);
    expect(command.lines.join("\n")).not.toContain("hunter2");
  });

  it("takes the secret from .env.local, and another route", async () => {
    const route = await setup();
    await writeFile(join(folder, ".env"), "CRON_SECRET=of-another-time\n");
    await writeFile(join(folder, ".env.local"), 'CRON_SECRET="hunter2"\n');
    const url = `http://127.0.0.1:${route.port}/jobs`;
    const command = new Command(["--tick", "1s", "--tick-url", url]);
    await command.line(/tick: dispatch-only/u);
    expect(await command.line(/ticks/u)).toContain("with CRON_SECRET of .env.local");
    expect(route.ticks).toContain("POST /jobs");
  });

  it("says what is wrong with a refused tick, and that there is no secret", async () => {
    const route = await setup();
    const url = `http://127.0.0.1:${route.port}/jobs`;
    const command = new Command(["--tick", "1s", "--tick-url", url]);
    await command.line(/tick: refused \(401\): CRON_SECRET here is not the app's/u);
    expect(await command.line(/ticks/u)).toContain("without a secret");
  });
});

describe("evenkeel-engine dev", () => {
  it("greets with addresses, one thing to call, logs and what to do next", async () => {
    const command = new Command(["--url", "localhost:1/api/inngest"]);
    const url = await command.url();
    for (const start of ["app", "try", "logs", "next"]) {
      await command.line(new RegExp(`^ {2}${start} `, "u"));
    }
    expect(await command.line(/^ {2}try/u)).toContain(`curl -X POST ${url}/e/dev`);
    expect(await command.line(/^ {2}next/u)).toContain(`INNGEST_DEV=${url}`);
  });

  it("takes the options of the real command, and says which have no effect", async () => {
    const real =
      "--no-discovery --no-poll --tick 10 --queue-workers 500 --retry-interval 1 --persist --poll-interval 5 --connect-gateway-port 0 --connect-gateway-grpc-port 0 --connect-executor-grpc-port 0 --postgres-uri x --log-level info -u http://localhost:1/x --sdk-url http://localhost:2/x --config inngest.json --sqlite-dir . --debug-api-port 0";
    const command = new Command(real.split(" "));
    const url = await command.url();
    await command.line(/! --persist has no effect: the engine keeps everything in memory/u);
    await command.line(/! --tick in milliseconds has no effect/u);
    expect((await fetch(`${url}/health`)).status).toBe(200);
    const info: { startOpts: { urls: string[] } } = JSON.parse(
      await (await fetch(`${url}/dev`)).text(),
    );
    expect(info.startOpts.urls).toEqual(["http://localhost:1/x", "http://localhost:2/x"]);
  });

  it("says what there is to call at its address, as JSON and as a page", async () => {
    const url = await new Command([]).url();
    const response = await fetch(url);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      name: "evenkeel-engine",
      calls: { "POST /e/<event key>": "sends events" },
    });
    const page = await fetch(url, { headers: { accept: "text/html,*/*" } });
    expect(page.headers.get("content-type")).toContain("text/html");
    expect(await page.text()).toContain("POST /e/&lt;event key&gt;");
  });

  it("says what to do where its port is taken", async () => {
    const url = await new Command([]).url();
    const child = spawn(process.execPath, [main, "dev", "--port", new URL(url).port], {
      env: { ...process.env, NODE_ENV: "development" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let text = "";
    child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const [code] = await once(child, "close");
    expect(code).toBe(1);
    expect(text).toContain("give another --port");
  });
});
