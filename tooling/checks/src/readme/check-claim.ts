import { equal, partialDeepStrictEqual } from "node:assert/strict";

/** Throws when a README's line does not give what it claims. Fields that the claim leaves out are free; elements are not. */
export function checkClaim(line: number, actual: unknown, expected: unknown): void {
  const message = `Line ${line} claims ${show(expected)}; it gave ${show(actual)}.`;
  partialDeepStrictEqual(actual, expected, message);
  if (Array.isArray(actual) && Array.isArray(expected))
    equal(expected.length, actual.length, message);
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? "undefined";
}
