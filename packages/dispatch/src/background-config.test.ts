import { expect, test } from "vitest";

import { decideMode, parseBackgroundConfig, type BackgroundConfig } from "./background-config.ts";
import { DispatchError } from "./dispatch-error.ts";
import type { Environment } from "./variables.ts";

const now = new Date("2026-06-01T12:00:00Z");

function parse(environment: Environment): BackgroundConfig {
  return parseBackgroundConfig(environment, { now });
}

function problemsOf(environment: Environment, servesFunctions = false): Record<string, string> {
  try {
    parseBackgroundConfig(environment, { now, servesFunctions });
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
    receiptsSecrets: [],
    useInngest: { enabled: false, because: "neither INNGEST_EVENT_KEY nor INNGEST_DEV is set" },
    windowSeconds: 60,
    concurrency: 4,
    environment: "production",
    migrate: "start",
    serveFunctions: true,
    trimmed: [],
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
  const [current, previous] = ["0123456789abcdef", "fedcba9876543210"] as const;
  expect(parse({ CRON_SECRET: current, CRON_SECRET_PREVIOUS: previous }).cronSecrets).toEqual([
    current,
    previous,
  ]);
});

test("receipts have secrets of their own: the scheduler's is refused for them", () => {
  const [current, previous] = ["0123456789abcdef", "fedcba9876543210"] as const;
  const own = { RECEIPTS_SECRET: current, RECEIPTS_SECRET_PREVIOUS: previous };
  expect(parse(own)).toMatchObject({ cronSecrets: [], receiptsSecrets: [current, previous] });
  for (const name of ["RECEIPTS_SECRET", "RECEIPTS_SECRET_PREVIOUS"]) {
    for (const scheduler of ["CRON_SECRET", "CRON_SECRET_PREVIOUS"]) {
      expect(problemsOf({ [name]: current, [scheduler]: ` ${current}\n` })).toHaveProperty(name);
    }
    expect(problemsOf({ [name]: "short" })).toHaveProperty(name);
  }
});

test("every problem is reported at once, by name and never by value", () => {
  const environment = {
    CRON_SECRET: "0123456789abcdef",
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

test.each(["BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK", "BACKGROUND_JOBS_FORCE_INLINE"])(
  "%s needs an expiry, at most a day ahead",
  (name) => {
    const until = `${name}_UNTIL`;
    const on = { [name]: "on" };
    const readEnd = (environment: Environment): Date | undefined => {
      const { inlineFallbackUntil, forceInlineUntil } = parse(environment);
      return inlineFallbackUntil ?? forceInlineUntil;
    };
    expect(problemsOf(on)).toEqual({ [until]: `is required while ${name} is on` });
    expect(problemsOf({ ...on, [until]: "soon" })).toHaveProperty(until);
    expect(problemsOf({ ...on, [until]: "2026-06-02T12:00:00.001Z" })).toHaveProperty(until);
    expect(readEnd({ ...on, [until]: "2026-06-02T12:00:00Z" })).toEqual(
      new Date("2026-06-02T12:00:00Z"),
    );
    expect(readEnd({ ...on, [until]: " 2026-06-01T14:30:00+02:00\n" })).toEqual(
      new Date("2026-06-01T12:30:00Z"),
    );
    expect(readEnd({ [until]: "2026-06-01T13:00:00Z" })).toBeUndefined();
    expect(readEnd({ [name]: "off", [until]: "2026-06-01T13:00:00Z" })).toBeUndefined();
  },
);

test("whitespace around any variable is taken off, and told by name", () => {
  const clean = {
    CRON_SECRET: "0123456789abcdef",
    BACKGROUND_JOBS_USE_INNGEST: "true",
    BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS: "30",
    INNGEST_EVENT_KEY: "event-key",
    INNGEST_SIGNING_KEY: "signkey-prod-0123",
    INNGEST_SIGNING_KEY_FALLBACK: "signkey-prod-4567",
    INNGEST_BASE_URL: "https://inngest.example",
    INNGEST_ENV: "staging",
    DATABASE_URL: "postgresql://u:p@db:5432/x",
  };
  for (const pad of [
    (text: string) => `${text}\n`,
    (text: string) => `\r\n\t ${text}`,
    (text: string) => `\uFEFF${text}\u00A0`,
  ]) {
    const padded = Object.fromEntries(
      Object.entries(clean).map(([name, text]) => [name, pad(text)]),
    );
    const { trimmed, ...config } = parse(padded);
    expect({ ...config, trimmed: [] }).toEqual(parse(clean));
    expect(trimmed.toSorted()).toEqual(Object.keys(clean).toSorted());
  }
  const host = { now, hostVariables: ["PORT", "HOST"] };
  expect(parseBackgroundConfig({ PORT: "1 ", HOST: "a" }, host).trimmed).toEqual(["PORT"]);
  expect(parse({ CRON_SECRET: " \n" }).cronSecrets).toEqual([]);
  expect(() =>
    parseBackgroundConfig({ CRON_SECRET: " \n" }, { now, required: ["CRON_SECRET"] }),
  ).toThrow("CRON_SECRET is not set");
});

test.each<[boolean, readonly string[]]>([
  [true, ["true", "1", "yes", "y", "on", "TRUE", "Yes", " oN\n"]],
  [false, ["false", "0", "no", "n", "off", "FALSE", "No", "\tOFF "]],
])("a switch is %s in any spelling", (enabled, spellings) => {
  for (const spelling of spellings) {
    expect(parse({ BACKGROUND_JOBS_USE_INNGEST: spelling }).useInngest.enabled).toBe(enabled);
    expect(parse({ INNGEST_DEV: spelling }).inngest.dev).toBe(enabled);
  }
});

test.each(["maybe", "truee", "2", "localhost:8288", "ftp://a", "http://a b"])(
  "INNGEST_DEV as %s is refused, and not taken for on",
  (value) => {
    expect(problemsOf({ INNGEST_DEV: value })).toEqual({
      INNGEST_DEV: "must be true, false or the URL of a development server",
    });
  },
);

test.each([
  "CRON_SECRET",
  "CRON_SECRET_PREVIOUS",
  "INNGEST_EVENT_KEY",
  "INNGEST_SIGNING_KEY",
  "INNGEST_SIGNING_KEY_FALLBACK",
])("whitespace and invisible characters inside %s are refused by its name", (name) => {
  for (const inside of ["\n", "\r\n", " ", "\t", "\u00A0", "\u200B", "\u0000", "\u00E4"]) {
    const environment = { [name]: `0123456789abcdef${inside}0123456789abcdef` };
    expect(Object.keys(problemsOf(environment))).toEqual([name]);
    expect(() => parse(environment)).toThrow(/^(?!.*0123456789abcdef)/su);
  }
});

test("a secret that is easily guessed is refused", () => {
  for (const name of ["CRON_SECRET", "CRON_SECRET_PREVIOUS"]) {
    expect(problemsOf({ [name]: "0123456789abcde" })).toEqual({
      [name]: "must have at least 16 characters",
    });
  }
});

test("a line break inside an address is refused", () => {
  expect(Object.keys(problemsOf({ DATABASE_URL: "postgresql://u:p@db:5432/x\n/y" }))).toEqual([
    "DATABASE_URL",
  ]);
});

test("a host that serves functions needs the signing key, outside the development mode", () => {
  expect(problemsOf({}, true)).toHaveProperty("INNGEST_SIGNING_KEY");
  expect(problemsOf({ INNGEST_EVENT_KEY: "key", INNGEST_SIGNING_KEY: " \n" }, true)).toHaveProperty(
    "INNGEST_SIGNING_KEY",
  );
  const host = { now, servesFunctions: true };
  for (const environment of [
    { INNGEST_SIGNING_KEY: "signkey-prod-0123" },
    { INNGEST_DEV: "1" },
    { BACKGROUND_JOBS_USE_INNGEST: "no" },
  ]) {
    expect(() => parseBackgroundConfig(environment, host)).not.toThrow();
  }
  // A host that only dispatches signs nothing.
  expect(() => parse({ INNGEST_EVENT_KEY: "key" })).not.toThrow();
});

test("the effective mode is told with its reason, and follows the clock", () => {
  const later = new Date("2026-06-01T13:00:00Z");
  const forced = {
    INNGEST_EVENT_KEY: "key",
    BACKGROUND_JOBS_FORCE_INLINE: "yes",
    BACKGROUND_JOBS_FORCE_INLINE_UNTIL: "2026-06-01T13:00:00Z",
  };
  expect(decideMode(parse(forced), now)).toEqual({
    mode: "inline-forced",
    because: "BACKGROUND_JOBS_FORCE_INLINE is on until 2026-06-01T13:00:00.000Z",
  });
  expect(decideMode(parse(forced), later)).toEqual({
    mode: "dispatch-only",
    because: "INNGEST_EVENT_KEY is set",
  });
  const fallback = {
    BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK: "1",
    BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK_UNTIL: "2026-06-01T13:00:00Z",
  };
  expect(decideMode(parse(fallback), now).mode).toBe("inline-emergency-fallback");
  expect(decideMode(parse(fallback), later).mode).toBe("not-configured");
});
