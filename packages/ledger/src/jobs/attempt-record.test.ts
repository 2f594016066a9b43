import { expect, test } from "vitest";

import { isStorableJson } from "../database/storable-json.ts";
import { encodeResult, recordAttemptError } from "./attempt-record.ts";

test("an attempt's error stays within 4 KiB with its code and message, whatever its characters", () => {
  for (const character of ["x", "é", "😀", '"', "\u0001", "\u0000", "\ud800"]) {
    const text = character.repeat(20_000);
    const error = recordAttemptError({ code: text, message: text, stack: text });
    expect(Buffer.byteLength(JSON.stringify(error))).toBeLessThanOrEqual(4 * 1024 - 200);
    expect(isStorableJson(JSON.stringify(error))).toBe(true);
    expect(error.message).not.toBe("");
  }
});

test("a short error is recorded as it is, without credentials", () => {
  const error = { code: "E", message: "failed: password=hunter2", stack: "at send (a.ts:1)" };
  expect(recordAttemptError(error)).toEqual({ ...error, message: "failed: password=[redacted]" });
  expect(recordAttemptError({ code: "E", message: "m" })).toEqual({ code: "E", message: "m" });
});

test("a result is kept as JSON if it can be", () => {
  expect(encodeResult({ a: 1 })).toBe('{"a":1}');
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  for (const result of [undefined, null, cycle, 1n, () => 1, "é".repeat(32 * 1024)]) {
    expect(encodeResult(result)).toBeUndefined();
  }
});

test("what Postgres cannot store in a result or an error is replaced, and the rest is kept", () => {
  const dirty = "a\u0000b \ud800 c \udc00 \\u0000 \\\ud800 😀";
  const clean = "a\ufffdb \ufffd c \ufffd \\u0000 \\\ufffd 😀";
  const kept = encodeResult({ [dirty]: [dirty, { n: 1 }] });
  expect(JSON.parse(kept ?? "")).toEqual({ [clean]: [clean, { n: 1 }] });
  expect(isStorableJson(kept ?? "")).toBe(true);
  const error = recordAttemptError({ code: dirty, message: dirty, stack: dirty });
  expect(error).toEqual({ code: clean, message: clean, stack: clean });
});
