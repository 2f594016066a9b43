import fc from "fast-check";
import { expect, test } from "vitest";

import { encodePayload, maxPayloadBytes } from "./payload.ts";
import { parseTenantId } from "./tenant.ts";

test("a payload is accepted up to the limit in bytes of UTF-8, and refused above it", () => {
  fc.assert(
    fc.property(fc.constantFrom("a", "é", "€", "😀"), (character) => {
      const size = new TextEncoder().encode(character).length;
      const count = Math.floor((maxPayloadBytes - 2) / size);
      const largest = character.repeat(count);
      expect(JSON.parse(encodePayload(largest, "job test"))).toBe(largest);
      expect(() => encodePayload(largest + character, "job test")).toThrow(
        expect.objectContaining({ code: "payload_too_large" }),
      );
    }),
  );
});

test("what has no JSON form is refused", () => {
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  for (const value of [undefined, () => 1, cycle, 1n]) {
    expect(() => encodePayload(value, "job test")).toThrow(
      expect.objectContaining({ code: "invalid_payload" }),
    );
  }
});

test("a tenant id has 1 to 200 characters, and an error never repeats it", () => {
  expect(parseTenantId("x".repeat(200))).toHaveLength(200);
  for (const value of ["", "secret".repeat(40), "nul\u0000", 7, null, undefined, {}]) {
    expect(() => parseTenantId(value)).toThrow(expect.objectContaining({ code: "invalid_tenant" }));
    expect(() => parseTenantId(value)).toThrow(/^(?!.*secret)/u);
  }
});
