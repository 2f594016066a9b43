import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { startService, untilUp } from "./service.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dev-service-"));
});
afterEach(() => rm(folder, { recursive: true }));

function start(program: string) {
  return startService({
    name: "it",
    args: ["--eval", program],
    cwd: folder,
    environment: {},
    logPath: join(folder, "it.log"),
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("what a program started ends with it, though it does not listen to signals", async () => {
  const service = start(
    `const { spawn } = require("node:child_process");
     const stubborn = 'process.on("SIGTERM", () => {}); console.log(process.pid, "is there"); setInterval(() => {}, 1000)';
     spawn(process.execPath, ["--eval", stubborn], { stdio: "inherit" });
     setInterval(() => {}, 1000);`,
  );
  const log = await vi.waitUntil(
    async () => {
      const text = await readFile(service.logPath, "utf8");
      return text.includes("is there") ? text : undefined;
    },
    { timeout: 60_000 },
  );
  const pid = Number.parseInt(log, 10);
  expect(isAlive(pid)).toBe(true);
  await service.stop();
  expect(service.hasEnded).toBe(true);
  expect(isAlive(pid)).toBe(false);
  await service.stop();
});

test("a program that ends before it answers is reported with its last words", async () => {
  const service = start(`console.error("no such thing"); process.exit(3)`);
  const waiting = untilUp(service, "http://127.0.0.1:9/", new AbortController().signal);
  await expect(waiting).rejects.toThrow(/it ended before it answered.*\n.*no such thing/u);
  expect(await service.ended).toBe(3);
});
