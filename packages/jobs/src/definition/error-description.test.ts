import fc from "fast-check";
import { expect, test } from "vitest";

import { describeError } from "./error-description.ts";

test("whatever is thrown is described by texts", () => {
  const strange = fc
    .record({
      code: fc.anything(),
      message: fc.anything(),
      stack: fc.anything(),
      cause: fc.anything(),
    })
    .map((fields) => Object.assign(new Error("x"), fields));
  fc.assert(
    fc.property(fc.oneof(fc.anything(), strange), (thrown) => {
      const { code, message, stack = "" } = describeError(thrown);
      for (const text of [code, message, stack]) expect(text).toBeTypeOf("string");
    }),
  );
});

test("an error with a trap in it is described all the same", () => {
  const trap = new Error("x");
  Object.defineProperty(trap, "message", {
    get: () => {
      throw new Error("trap");
    },
  });
  expect(describeError(trap)).toMatchObject({ code: "thrown_value" });
});

test("the code, the message and the causes are told", () => {
  const cause = new Error("socket closed", { cause: new TypeError("no address") });
  const error = Object.assign(new Error("The send failed.", { cause }), { code: "E_SEND" });
  const described = describeError(error);
  expect(described).toMatchObject({ code: "E_SEND", message: "The send failed." });
  expect(described.stack).toContain("caused by Error: socket closed");
  expect(described.stack).toContain("caused by TypeError: no address");
  expect(describeError(new RangeError("far"))).toMatchObject({ code: "RangeError" });
  expect(describeError("a text")).toEqual({ code: "thrown_value", message: "a text" });
});

test("an error without a message is told by its parts", () => {
  const refused = Object.assign(new AggregateError([new Error("refused at ::1")]), {
    code: "ECONNREFUSED",
  });
  expect(describeError(refused)).toMatchObject({
    code: "ECONNREFUSED",
    message: "Error: refused at ::1",
  });
});

test("causes in a circle come to an end", () => {
  const error = new Error("x");
  error.cause = error;
  expect(describeError(error).stack?.match(/caused by/gu)).toHaveLength(5);
});
