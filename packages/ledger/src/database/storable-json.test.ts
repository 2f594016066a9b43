import { expect, test } from "vitest";

import { encodeStorable, isStorableJson, toStorableText } from "./storable-json.ts";

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

const cycle: Record<string, unknown> = {};
cycle["self"] = cycle;

test.each([
  [
    { a: "\u0000", "\ud800": ["\udfff😀"] },
    { a: "\ufffd", "\ufffd": ["\ufffd😀"] },
  ],
  ["\\u0000", "\\u0000"],
  [undefined, null],
  [() => 1, null],
  [cycle, null],
  [1n, null],
])("%o is kept as %o", (value, kept) => {
  expect(JSON.parse(encodeStorable(value) ?? "null")).toEqual(kept);
});

test("a text for Postgres has neither NUL nor half of a surrogate pair", () => {
  expect(toStorableText("a\u0000b\ud800c😀")).toBe("a\ufffdb\ufffdc😀");
});
