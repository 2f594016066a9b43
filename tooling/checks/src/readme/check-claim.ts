import { partialDeepStrictEqual } from "node:assert/strict";

/** Throws when a README's line does not give what it claims. Fields that the claim leaves out are free. */
export function checkClaim(line: number, actual: unknown, expected: unknown): void {
  partialDeepStrictEqual(
    actual,
    expected,
    `Line ${line} claims ${show(expected)}; it gave ${show(actual)}.`,
  );
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? "undefined";
}
