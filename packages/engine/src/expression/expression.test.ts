import { describe, expect, it } from "vitest";

import { ExpressionError, compileExpression } from "./expression.ts";

const scope = {
  event: { name: "a/b", data: { n: 5, s: "x", list: [1, 2], none: null, nested: { id: "7" } } },
  async: { data: { nested: { id: "7" } } },
};
const evaluate = (source: string) => compileExpression(source).evaluate(scope);

describe("expression", () => {
  it.each([
    ["event.data.n == 5", true],
    ["event.data.n > 4 && event.data.s == 'x'", true],
    ["event.data.nested.id == async.data.nested.id", true],
    ["event.data.list.exists(item, item == 2)", true],
    ["2 in event.data.list", true],
    ["event.data.s in ['x', 'y']", true],
    ["event.data.s.startsWith('x')", true],
    ["has(event.data.n)", true],
    ["event.data.n > 3 ? 100 : 0", 100n],
    ["event.data.s + '-' + event.data.n", "x-5"],
    ["uppercase(event.data.s) == 'X'", true],
    ["b64decode('aGk=') == lowercase('HI')", true],
    ["json_parse('{\"a\":1}').a == 1", true],
    ["date('2026-01-02T00:00:00Z') > date('2026-01-01T00:00:00Z')", true],
  ])("evaluates %s", (source, value) => {
    expect(evaluate(source)).toEqual(value);
  });

  it.each([
    ["event.data.missing == 'x'", false],
    ["event.data.missing != 'x'", true],
    ["event.data.missing == null", true],
    ["event.data.missing.deeper.still == null", true],
    ["event.data.missing > 5", false],
    ["event.data.missing < 5", true],
    ["event.data.missing.startsWith('x')", false],
    ["event.data.missing == 'x' || event.data.s == 'x'", true],
    ["event.data.none == null", true],
    ["'a' in event.data.missing", false],
    ["size(event.data.missing)", 0n],
  ])("treats a missing attribute as the server does: %s", (source, value) => {
    expect(evaluate(source)).toEqual(value);
  });

  it("takes any value as true or false in && and ||", () => {
    expect(evaluate("event.data.missing || event.data.s")).toBe("x");
    expect(compileExpression("event.data.s || false").isTrue(scope)).toBe(false);
  });

  it("refuses what is no CEL", () => {
    expect(() => compileExpression("event.data. ==")).toThrow(ExpressionError);
  });
});
