import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { describe, expect, it } from "vitest";

import { createEngine } from "../engine.ts";
import { ArgumentError, readArguments } from "./arguments.ts";
import { createLiveLog } from "./live-log.ts";

const main = fileURLToPath(new URL("main.ts", import.meta.url));

function start(args: readonly string[], environment: Record<string, string> = {}) {
  return spawn(process.execPath, [main, ...args], {
    env: { ...process.env, NODE_ENV: "development", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

describe("evenkeel-engine", () => {
  it("says where it listens, answers, and leaves cleanly on SIGTERM", async () => {
    const child = start(["dev", "--port", "0", "--json"]);
    let url = "";
    for await (const line of createInterface({ input: child.stdout })) {
      const entry: { event?: string; url?: string } = JSON.parse(line);
      if (entry.event !== "engine.listening") continue;
      url = entry.url ?? "";
      break;
    }
    const response = await fetch(`${url}/health`);
    expect(response.status).toBe(200);
    child.kill("SIGTERM");
    const [code] = await once(child, "exit");
    expect(code).toBe(0);
  });

  it("injects faults into a running engine and explains its events", async () => {
    const engine = createEngine();
    const { url } = await engine.listen();
    const { ids } = await engine.send({ name: "a" });
    const [id = ""] = ids;
    const run = async (args: readonly string[]) => {
      const child = start([...args, "--engine", url]);
      let text = "";
      child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
      const [code] = await once(child, "close");
      return { code, text };
    };
    expect(await run(["fault", "refuseEvents", "--for", "1h"])).toEqual({
      code: 0,
      text: "injected refuseEvents\n",
    });
    expect((await fetch(`${url}/e/key`, { method: "POST", body: "{}" })).status).toBe(503);
    expect(await run(["fault", "noSuchFault"])).toMatchObject({
      code: 1,
      text: expect.stringContaining("no such fault"),
    });
    expect(await run(["explain", id])).toEqual({ code: 0, text: `event a ${id}\n` });
    await engine.close();
  });

  it("refuses production, unless told to", async () => {
    const child = start(["dev", "--port", "0"], { NODE_ENV: "production" });
    let text = "";
    child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const [code] = await once(child, "exit");
    expect(code).toBe(1);
    expect(text).toContain("--allow-production");
  });
});

describe("readArguments", () => {
  it("reads apps, address and options", () => {
    const args = [
      "dev",
      "-u",
      "localhost:3000/api/inngest",
      "--url",
      "http://b/x",
      "-p",
      "0",
      "-v",
    ];
    expect(readArguments(args)).toMatchObject({
      urls: ["http://localhost:3000/api/inngest", "http://b/x"],
      port: 0,
      host: "127.0.0.1",
      isVerbose: true,
      pollMs: 5_000,
    });
  });

  it("reads what the real command takes", () => {
    const args = "dev --sdk-url http://a/x --poll-interval 7 --retry-interval 2 --queue-workers 9";
    expect(readArguments([...args.split(" "), "--tick", "150", "-l", "debug"])).toMatchObject({
      urls: ["http://a/x"],
      pollMs: 7_000,
      retryMs: 2_000,
      maxCalls: 9,
      isVerbose: true,
      tick: undefined,
      ignored: [expect.stringContaining("--tick in milliseconds")],
    });
    expect(readArguments(["dev", "--no-poll"])).toMatchObject({
      pollMs: Number.POSITIVE_INFINITY,
      retryMs: undefined,
      maxCalls: undefined,
    });
  });

  it("reads where to tick: the app's usual route, or the one that is named", () => {
    const args = ["dev", "--url", "localhost:3000/api/inngest", "--tick", "1m"];
    expect(readArguments(args)).toMatchObject({
      tick: { url: "http://localhost:3000/api/cron/background-jobs", everyMs: 60_000 },
    });
    expect(readArguments([...args, "--tick-url", "localhost:4000/jobs"])).toMatchObject({
      tick: { url: "http://localhost:4000/jobs", everyMs: 60_000 },
    });
  });

  it("reads a fault and what it meets", () => {
    const args = ["fault", "delayCalls", "--by", "5s", "--times", "3", "--function", "app-f"];
    expect(readArguments([...args, "--engine", "localhost:9000"])).toEqual({
      command: "fault",
      engineUrl: "http://localhost:9000",
      request: { fault: "delayCalls", by: "5s", times: 3, function: "app-f" },
    });
  });

  it("asks for help", () => {
    expect(readArguments(["--help"])).toBeUndefined();
  });

  it.each([
    [["start"], /the command is "dev", "fault" or "explain"/],
    [["dev", "more"], /the command is/],
    [["fault"], /name one fault/],
    [["fault", "restart", "--engine", "http://"], /--engine takes a URL/],
    [["explain", "a", "b"], /name one event/],
    [["dev", "--port", "x"], /--port takes a number/],
    [["dev", "--url", "http://"], /--url takes a URL/],
    [["dev", "--no-such"], /no-such/],
    [["dev", "--tick", "soon", "--url", "a:1"], /--tick takes a time of 1s or more/],
    [["dev", "--tick", "100ms", "--url", "a:1"], /--tick takes a time of 1s or more/],
    [["dev", "--tick", "60s"], /--tick needs the app/],
    [["dev", "--tick-url", "http://a"], /--tick-url needs --tick/],
    [["dev", "--retry-interval", "-1"], /retry-interval/],
  ])("refuses %j", (args, message) => {
    expect(() => readArguments(args)).toThrow(ArgumentError);
    expect(() => readArguments(args)).toThrow(message);
  });
});

function setup(options: { isJson?: boolean; isVerbose?: boolean } = {}) {
  const lines: string[] = [];
  const log = createLiveLog({
    write: (line) => void lines.push(line),
    now: () => Date.UTC(2026, 0, 1, 10, 11, 12, 13),
    isJson: false,
    isVerbose: false,
    ...options,
  });
  return { lines, log };
}

describe("live log", () => {
  it("writes a sentence per event", () => {
    const { lines, log } = setup();
    log.warn("app.unreachable", { url: "http://a", reason: "Unable to reach SDK URL" });
    log.error("run.failed", { function: "app-f", runId: "01ABCDEF", error: "Error: boom" });
    log.debug("run.queued", {});
    log.info("event.received", { name: "user/signed.up" });
    expect(lines).toEqual([
      "10:11:12.013 ! no app at http://a: Unable to reach SDK URL",
      "10:11:12.013 ✗ app-f failed: Error: boom [ABCDEF]",
      "10:11:12.013 · event user/signed.up",
    ]);
  });

  it("writes JSON when asked to", () => {
    const { lines, log } = setup({ isJson: true, isVerbose: true });
    log.debug("run.queued", { function: "app-f" });
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      time: "2026-01-01T10:11:12.013Z",
      level: "debug",
      event: "run.queued",
      function: "app-f",
    });
  });
});
