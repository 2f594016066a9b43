import { silentLogger } from "@evenkeel/core";
import { expect, test } from "vitest";

import { createManualClock } from "../testing/manual-clock.ts";
import { PollerLease } from "./poller-lease.ts";

test("a lease that is resumed while it is being released is asked for again as soon as it is released", async () => {
  const clock = createManualClock();
  const calls: string[] = [];
  const released = Promise.withResolvers<undefined>();
  let isAttentive = true;
  let change = Promise.withResolvers<undefined>();
  const poller = new PollerLease({
    jobs: {
      acquirePoller: async () => {
        calls.push("acquire");
        return true;
      },
      releasePoller: async () => {
        calls.push("release");
        await released.promise;
      },
    },
    lane: "stable",
    clock,
    logger: silentLogger,
    isAttentive: () => isAttentive,
    onChange: () => change.resolve(undefined),
  });
  poller.start();
  await change.promise;
  isAttentive = false;
  clock.advance(500);
  expect({ calls, isBackingOff: poller.isBackingOff }).toEqual({
    calls: ["acquire", "release"],
    isBackingOff: true,
  });
  isAttentive = true;
  poller.resume();
  expect({ isAsking: poller.isAsking, isBackingOff: poller.isBackingOff }).toEqual({
    isAsking: true,
    isBackingOff: false,
  });
  change = Promise.withResolvers<undefined>();
  released.resolve(undefined);
  await change.promise;
  expect({ calls, isHeld: poller.isHeld }).toEqual({
    calls: ["acquire", "release", "acquire"],
    isHeld: true,
  });
  await poller.releasePoller();
  expect(poller.isMarked).toBe(false);
});
