import { expect, test } from "vitest";

import {
  parseBackgroundConfig,
  type BackgroundConfig,
  type Environment,
} from "./background-config.ts";
import { DispatchError } from "./dispatch-error.ts";

const now = new Date("2026-06-01T12:00:00Z");

function parse(environment: Environment): BackgroundConfig {
  return parseBackgroundConfig(environment, { now });
}

function problemsOf(environment: Environment): Record<string, string> {
  try {
    parse(environment);
  } catch (error) {
    const isExpected = error instanceof DispatchError && error.code === "invalid_configuration";
    if (!isExpected) throw error;
    const problems = error.data["problems"] as { name: string; problem: string }[];
    return Object.fromEntries(problems.map(({ name, problem }) => [name, problem]));
  }
  throw new Error("The configuration was accepted.");
}

test("nothing set: closed endpoint, Inngest off, no inline work, windows of a minute", () => {
  expect(parse({})).toEqual({
    cronSecrets: [],
    useInngest: { enabled: false, because: "neither INNGEST_EVENT_KEY nor INNGEST_DEV is set" },
    forceInline: false,
    windowSeconds: 60,
    concurrency: 4,
    environment: "production",
    inngest: { dev: false },
  });
});

test.each<[Environment, boolean]>([
  [{ INNGEST_EVENT_KEY: "key" }, true],
  [{ INNGEST_DEV: "1" }, true],
  [{ INNGEST_DEV: "http://127.0.0.1:8288" }, true],
  [{ INNGEST_DEV: "0" }, false],
  [{ INNGEST_EVENT_KEY: "" }, false],
  [{ INNGEST_EVENT_KEY: "key", BACKGROUND_JOBS_USE_INNGEST: "false" }, false],
  [{ BACKGROUND_JOBS_USE_INNGEST: "true" }, true],
])("%j: Inngest on is %s", (environment, enabled) => {
  expect(parse(environment).useInngest.enabled).toBe(enabled);
});

test("both secrets are accepted, the current one first", () => {
  expect(parse({ CRON_SECRET: "new", CRON_SECRET_PREVIOUS: "old" }).cronSecrets).toEqual([
    "new",
    "old",
  ]);
});

test("every problem is reported at once, by name and never by value", () => {
  const environment = {
    CRON_SECRET: "s3cret-value",
    BACKGROUND_JOBS_USE_INNGEST: "perhaps-value",
    BACKGROUND_JOBS_FORCE_INLINE: "yes-value",
    BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS: "14",
    BACKGROUND_JOBS_INNGEST_CONCURRENCY: "65",
    BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK: "true",
    INNGEST_BASE_URL: "ftp://value",
  };
  expect(Object.keys(problemsOf(environment)).toSorted()).toEqual([
    "BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS",
    "BACKGROUND_JOBS_FORCE_INLINE",
    "BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK_UNTIL",
    "BACKGROUND_JOBS_INNGEST_CONCURRENCY",
    "BACKGROUND_JOBS_USE_INNGEST",
    "INNGEST_BASE_URL",
  ]);
  expect(() => parse(environment)).toThrow(/^(?!.*value).*BACKGROUND_JOBS_FORCE_INLINE/u);
});

test("what a host cannot do without, and its own problems, are reported with the others", () => {
  expect(() =>
    parseBackgroundConfig(
      { INNGEST_BASE_URL: "x", DATABASE_URL: "mysql://root@db/x" },
      {
        now,
        required: ["CRON_SECRET", "DATABASE_URL"],
        hostProblems: [{ name: "PORT", problem: "must be a whole number" }],
      },
    ),
  ).toThrow(
    "Invalid configuration: PORT must be a whole number; CRON_SECRET is not set; " +
      "INNGEST_BASE_URL must be an http or https URL; " +
      "DATABASE_URL must be of the form postgresql://user:password@host:5432/database.",
  );
  expect(parse({ DATABASE_URL: "postgresql://u:p@db:5432/x" }).databaseUrl).toBeDefined();
});

test.each(["3601", "0", "-60", "1e2", "60.5", "sixty", "0x3c"])(
  "a window of %s seconds is refused",
  (value) => {
    expect(problemsOf({ BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS: value })).toHaveProperty(
      "BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS",
      "must be a whole number from 15 to 3600",
    );
  },
);

const until = "BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK_UNTIL";
const fallback = { BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK: "true" };

test("the emergency switch needs an expiry, at most a day ahead", () => {
  expect(problemsOf(fallback)).toHaveProperty(until);
  expect(problemsOf({ ...fallback, [until]: "soon" })).toHaveProperty(until);
  expect(problemsOf({ ...fallback, [until]: "2026-06-02T12:00:00.001Z" })).toHaveProperty(until);
  expect(parse({ ...fallback, [until]: "2026-06-02T12:00:00Z" }).inlineFallbackUntil).toEqual(
    new Date("2026-06-02T12:00:00Z"),
  );
  expect(parse({ ...fallback, [until]: "2026-06-01T14:30:00+02:00" }).inlineFallbackUntil).toEqual(
    new Date("2026-06-01T12:30:00Z"),
  );
  expect(parse({ [until]: "2026-06-01T13:00:00Z" })).not.toHaveProperty("inlineFallbackUntil");
});
