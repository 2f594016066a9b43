import { expect, test } from "vitest";

import { isStorableJson } from "./storable-json.ts";

test.each([
  ["plain", true],
  ["a\u0000b", false],
  ["\ud800", false],
  ["\udfff", false],
  ["😀", true],
  // These are texts that look like an escape, and are none.
  ["\\u0000", true],
  ["\\\\u0000", true],
  ["\\\u0000", false],
  ["\u0001", true],
])("Postgres can store %j: %s", (text, isStorable) => {
  expect(isStorableJson(JSON.stringify(text))).toBe(isStorable);
  expect(isStorableJson(JSON.stringify({ [text]: [text] }))).toBe(isStorable);
});
