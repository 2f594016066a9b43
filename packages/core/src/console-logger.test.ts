import { afterEach, expect, test, vi } from "vitest";

import { createConsoleLogger, resolveLogger, type LogLevel } from "./console-logger.ts";
import { describeMessage } from "./error.ts";
import { silentLogger, type Logger } from "./logger.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

const clock = { now: () => new Date("2026-01-01T12:00:00Z") };
const all: readonly LogLevel[] = ["debug", "info", "warn", "error"];

function collect(): { lines: [LogLevel, string][]; console: Pick<Console, LogLevel> } {
  const lines: [LogLevel, string][] = [];
  const take = (level: LogLevel) => (line: string) => void lines.push([level, line]);
  const [debug, info, warn, error] = all.map(take);
  return { lines, console: { debug: debug!, info: info!, warn: warn!, error: error! } };
}

test("a line is one JSON object, from the least level on, by the console's own method", () => {
  const { lines, console } = collect();
  const logger = createConsoleLogger({ format: "json", console, clock });
  for (const level of all) logger[level]("dispatch.failed", { reason: "a\nb %s", event: "taken" });
  expect(lines.map(([level, line]) => [level, JSON.parse(line)])).toEqual(
    (["info", "warn", "error"] as const).map((level) => [
      level,
      { time: "2026-01-01T12:00:00.000Z", level, event: "dispatch.failed", reason: "a\nb %s" },
    ]),
  );
  expect(lines.every(([, line]) => !line.includes("\n"))).toBe(true);
});

test("a terminal gets a line for people", () => {
  const { lines, console } = collect();
  const logger = createConsoleLogger({ level: "error", format: "text", console, clock });
  logger.warn("not.told");
  logger.error("dispatch.failed", { reason: "fetch failed\n", to: "127.0.0.1:8288", tries: 3 });
  expect(lines).toEqual([
    [
      "error",
      '12:00:00.000 ERROR dispatch.failed reason="fetch failed\\n" to=127.0.0.1:8288 tries=3',
    ],
  ]);
});

test("without a logger a part writes to the console, and warnings go to standard error", () => {
  const warn = vi.spyOn(console, "warn").mockReturnValue();
  const logger = resolveLogger(undefined);
  logger.warn("dispatch.failed", { reason: "password=hunter2" });
  logger.debug("not.told");
  expect(warn).toHaveBeenCalledOnce();
  expect(warn.mock.calls[0]?.[0]).toMatch(/dispatch\.failed.*password=\[redacted\]/u);
});

test("whatever logger a part is given, its fields are redacted, once", () => {
  const lines: unknown[] = [];
  const own: Logger = {
    ...silentLogger,
    error: (event, fields) => void lines.push([event, fields]),
  };
  const logger = resolveLogger(own);
  expect(resolveLogger(logger)).toBe(logger);
  expect(resolveLogger(silentLogger)).toBe(silentLogger);
  logger.error("failed", { error: new Error("for ada@example.com"), tenantId: "acme", n: 1n });
  logger.error("bare");
  expect(lines).toMatchObject([
    ["failed", { error: { message: "for [email]" }, tenantId: "acme", n: "1" }],
    ["bare", undefined],
  ]);
});

test("an error is told with its causes, each message once", async () => {
  const refused = await fetch("http://127.0.0.1:1/e/key").catch((error: unknown) => error);
  expect(describeMessage(refused)).toMatch(/^fetch failed: .+/u);
  const cause = new AggregateError([
    new Error("connect ECONNREFUSED ::1:8288"),
    new Error("connect ECONNREFUSED 127.0.0.1:8288"),
  ]);
  expect(describeMessage(new TypeError("fetch failed", { cause }))).toBe(
    "fetch failed: connect ECONNREFUSED ::1:8288: connect ECONNREFUSED 127.0.0.1:8288",
  );
  const known = new Error("Migration 1 failed: no such table", {
    cause: new Error("no such table"),
  });
  expect(describeMessage(known)).toBe("Migration 1 failed: no such table");
  const loop = new Error("loop");
  loop.cause = loop;
  expect(describeMessage(loop)).toBe("loop");
  expect(describeMessage(undefined)).toBe("undefined");
  expect(describeMessage(Object.create(null))).toBe("A value that cannot be described was thrown.");
});
