import { expect, test, vi } from "vitest";

import { HeldClaim } from "./held-claim.ts";

/** A claim whose renewals are answered as given, the last answer again and again. */
function claimWith(
  answers: (boolean | undefined)[],
  leaseMs = 100,
): {
  claim: HeldClaim;
  lost: () => number;
  asked: () => number;
} {
  let [lost, asked] = [0, 0];
  const claim = new HeldClaim({
    renew: async () => {
      asked += 1;
      return answers.length > 1 ? answers.shift() : answers[0];
    },
    leaseMs,
    onLost: () => {
      lost += 1;
    },
  });
  return { claim, lost: () => lost, asked: () => asked };
}

const patience = { timeout: 60_000, interval: 5 };

test.each([[false], [undefined]])(
  "a claim whose first renewal is answered %s is not held",
  async (answer) => {
    const { claim, asked } = claimWith([answer]);
    expect(await claim.begin()).toBe(false);
    expect(asked()).toBe(1);
  },
);

test("a claim without an answer is lost once its lease is over, and is asked for on", async () => {
  const { claim, lost, asked } = claimWith([true, undefined]);
  expect(await claim.begin()).toBe(true);
  await vi.waitFor(() => expect(claim.signal.aborted).toBe(true), patience);
  const before = asked();
  await vi.waitFor(() => expect(asked()).toBeGreaterThan(before), patience);
  claim.end();
  expect(lost()).toBe(1);
});

test("a claim that one renewal missed is held when the next is answered", async () => {
  const { claim, lost, asked } = claimWith([true, undefined, true], 5_000);
  await claim.begin();
  await vi.waitFor(() => expect(asked()).toBeGreaterThan(2), patience);
  claim.end();
  expect({ lost: lost(), aborted: claim.signal.aborted }).toEqual({ lost: 0, aborted: false });
});

test("a claim that ended is renewed no more", async () => {
  const { claim, asked } = claimWith([true]);
  await claim.begin();
  claim.end();
  const held = claimWith([true]);
  await held.claim.begin();
  await vi.waitFor(() => expect(held.asked()).toBeGreaterThan(3), patience);
  held.claim.end();
  expect(asked()).toBe(1);
});
