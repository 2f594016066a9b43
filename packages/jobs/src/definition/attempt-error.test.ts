import { expect, test } from "vitest";

import { JobError } from "../job-error.ts";
import { RetryAfterError, SnoozeError, TerminalError } from "./attempt-error.ts";

test("what a handler throws takes a message, and options with a cause", () => {
  const cause = new Error("429");
  const errors = [
    new TerminalError("no", { cause }),
    new RetryAfterError("busy", { delayMs: 5, cause }),
    new SnoozeError("early", { delayMs: 7, cause }),
  ];
  expect(errors.map(({ message }) => message)).toEqual(["no", "busy", "early"]);
  for (const error of errors) expect(error.cause).toBe(cause);
  expect(errors.map(({ data }) => data)).toEqual([{}, { delayMs: 5 }, { delayMs: 7 }]);
  expect(new SnoozeError("early", { delayMs: 1 })).not.toHaveProperty("cause");
});

test("an error tells its name where a bundler has shortened its class's", () => {
  class a extends TerminalError {}
  class b extends RetryAfterError {}
  class c extends SnoozeError {}
  class d extends JobError {}
  const errors = [
    new a("x"),
    new b("x", { delayMs: 1 }),
    new c("x", { delayMs: 1 }),
    new d("timed_out", "x"),
  ];
  expect(errors.map(String)).toEqual([
    "TerminalError: x",
    "RetryAfterError: x",
    "SnoozeError: x",
    "JobError: x",
  ]);
});
