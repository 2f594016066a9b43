import fc from "fast-check";
import { expect, test } from "vitest";

import { redactText, redactValue } from "./redaction.ts";
import { plantedSecrets } from "./testing/planted-secrets.ts";

test.each(plantedSecrets)("$kind is taken out, wherever it stands", ({ text, secret }) => {
  for (const around of ["$", "failed: $", "a ($), b", "[$]\nnext", 'see "$"', "<$>", "$."]) {
    expect(redactText(around.replace("$", () => text))).not.toContain(secret);
  }
  expect(JSON.stringify(redactValue({ nested: [{ text }] }))).not.toContain(secret);
  // A text of JSON inside JSON, as an error often quotes a body.
  expect(redactText(JSON.stringify({ body: JSON.stringify({ text }) }))).not.toContain(secret);
});

test.each([
  ["password", "hunter2"],
  ["DB_PASSWORD", "hunter2 with spaces"],
  ["x-api-key", 'hunter2"quoted'],
  ["clientSecret", "hunter2\\"],
  ["INNGEST_EVENT_KEY", "hunter2"],
  ["SharedAccessKey", "hunter2+/="],
])("the value of %s is taken out of fields, of JSON, and of JSON in JSON", (name, value) => {
  const json = JSON.stringify({ before: 1, [name]: value, after: "kept" });
  for (const text of [json, JSON.stringify(json), JSON.stringify({ json })]) {
    expect(redactText(text)).not.toContain("hunter2");
    expect(redactText(text)).toContain("kept");
  }
  expect(redactValue({ [name]: value, after: "kept" })).toEqual({
    [name]: "[redacted]",
    after: "kept",
  });
});

test.each([
  "background-jobs|v1|global|60|2026-01-01T00:10:00.000Z",
  "background/process.requested:v1:production:0123456789abcdef0123456789abcdef:canary",
  "7f8ac30f-19b8-469a-8a44-7a65c305f207",
  "01KB3Q5R6X8ZP2M4N7V9W1T3Y5",
  "task-management-of-a-long-name and disk-0123456789abcdef",
  "connect ECONNREFUSED 127.0.0.1:8288",
  "http://127.0.0.1:8288/api/inngest?fnId=shop-process-background-jobs&stepId=step",
  "postgresql://db.example.com:5432/shop",
  "at Module.run (/srv/node_modules/.pnpm/pg@8.16.0/node_modules/pg/lib/client.js:10:3)",
  "@evenkeel/core@1.2.3 needs inngest@4.24.0",
  "no bearer token was presented; see the basic settings",
  "Unexpected token: }, and maxTokens=500, tokens: 12",
  "The window was claimed by pod-0:17:0b9c1f2a",
])("what a person needs stays: %s", (text) => {
  expect(redactText(text)).toBe(text);
});

test("an id keeps its address, and loses a credential", () => {
  const fields = {
    tenantId: "ada@example.com",
    dispatchKey: "digest|v1|tenant:ada@example.com|60|2026-01-01T00:00:00.000Z",
    jobIds: ["ada@example.com"],
    correlationId: "Bearer hunter2",
    reason: "ada@example.com is gone",
  };
  expect(redactValue(fields)).toEqual({
    ...fields,
    correlationId: "Bearer [redacted]",
    reason: "[email] is gone",
  });
});

const secretText = fc.constantFrom(...plantedSecrets.map(({ text }) => text));
/** Texts of what the patterns look for, in any order. */
const hostileText = fc
  .array(
    fc.oneof(
      secretText,
      fc.constantFrom(
        ...'password= : " \\" \' @ // :// /e/ ? & ; , [redacted] [email] bearer basic - sk- eyJ . \n token cookie: -----BEGIN'.split(
          " ",
        ),
      ),
      fc.constantFrom("-----BEGIN PRIVATE KEY-----", "authorization: ", " ", "a", "Z9"),
      fc.string({ unit: "binary", maxLength: 8 }),
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(""));

test("redacting twice changes nothing", () => {
  fc.assert(
    fc.property(hostileText, (text) => {
      const once = redactText(text);
      expect(redactText(once)).toBe(once);
    }),
    { numRuns: 2_000 },
  );
});

test("any value becomes plain JSON, and twice is the same", () => {
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withTypedArray: true,
    withObjectString: true,
    withNullPrototype: true,
    values: [fc.oneof(hostileText, fc.integer(), fc.constant(undefined), fc.bigInt())],
  });
  fc.assert(
    fc.property(anything, (value) => {
      const once = redactValue(value);
      expect(redactValue(once)).toEqual(once);
      expect(() => JSON.stringify(once)).not.toThrow();
    }),
  );
});

test("what cannot be told is named, and never throws", () => {
  const circle: Record<string, unknown> = { n: 1n };
  circle["self"] = circle;
  Object.defineProperty(circle, "bad", {
    enumerable: true,
    get: () => {
      throw new Error("no");
    },
  });
  expect(redactValue({ ok: true, circle })).toEqual({ ok: true, circle: "[failed to read]" });
  const loop: Record<string, unknown> = {};
  loop["self"] = loop;
  expect(redactValue(loop)).toEqual({ self: "[circular]" });
  const error = new Error("for ada@example.com", { cause: new Error("password=hunter2") });
  expect(redactValue({ error })).toMatchObject({
    error: {
      name: "Error",
      message: "for [email]",
      stack: expect.stringContaining("for [email]"),
      cause: { message: "password=[redacted]" },
    },
  });
  expect(redactValue(new URL("https://u:hunter2@example.com/"))).toBe(
    "https://[redacted]@example.com/",
  );
});
