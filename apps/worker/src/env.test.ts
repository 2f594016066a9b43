import { expect, test } from "vitest";

import { readEnvironment } from "./env.ts";

const required = { DATABASE_URL: "postgresql://u:hunter2@db:5432/x", INNGEST_DEV: "1" };

test("the worker's own variables are read as people set them, and told with the others", () => {
  const environment = readEnvironment({
    ...required,
    DATABASE_URL: `${required.DATABASE_URL}\n`,
    PORT: " 4000\n",
    HOST: "127.0.0.1\n",
    INNGEST_SERVE_ORIGIN: "https://jobs.example\r\n",
    WORKER_DRAIN_SECONDS: "\t5",
    WORKER_WATCH_SCHEDULES: "No",
    INBOX_SIMULATED_FAULTS: "YES\n",
  });
  expect(environment).toMatchObject({
    port: 4_000,
    host: "127.0.0.1",
    serveOrigin: "https://jobs.example",
    drainMs: 5_000,
    watchesSchedules: false,
    inbox: { simulatedFaults: true },
    config: { databaseUrl: required.DATABASE_URL },
  });
  expect(environment.config.trimmed.toSorted()).toEqual([
    "DATABASE_URL",
    "HOST",
    "INBOX_SIMULATED_FAULTS",
    "INNGEST_SERVE_ORIGIN",
    "PORT",
    "WORKER_DRAIN_SECONDS",
  ]);
});

test("a worker outside the development mode needs the signing key, told with every other problem", () => {
  expect(() =>
    readEnvironment({ ...required, INNGEST_DEV: "off", WORKER_WATCH_SCHEDULES: "perhaps" }),
  ).toThrow(/WORKER_WATCH_SCHEDULES must be true or false; INNGEST_SIGNING_KEY is not set/u);
});
