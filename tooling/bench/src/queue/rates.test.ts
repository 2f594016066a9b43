import { expect, test } from "vitest";

import { inTurn } from "./rates.ts";

const names = ["a", "b", "c", "d", "e", "f"];

test("each round has everyone once", () => {
  for (let round = 0; round < 12; round += 1) {
    expect(inTurn(names, round).toSorted()).toEqual(names);
  }
});

test("who goes first changes from round to round, and so does who went before whom", () => {
  const orders = [1, 2, 3, 4, 5].map((round) => inTurn(names, round));
  const firsts = orders.map(([first]) => first);
  expect(firsts.every((first, index) => index === 0 || first !== firsts[index - 1])).toBe(true);
  const before = (name: string): Set<string | undefined> =>
    new Set(orders.map((order) => order[order.indexOf(name) - 1]));
  for (const name of names) expect(before(name).size).toBeGreaterThan(1);
});
