import {
  array,
  assert,
  asyncProperty,
  boolean,
  constant,
  constantFrom,
  integer,
  oneof,
  record,
} from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { playOut } from "./testing/random-play.ts";

const act = oneof(
  record({ kind: constant("run" as const), failures: integer({ min: 0, max: 3 }) }),
  record({
    kind: constant("parallel" as const),
    width: integer({ min: 2, max: 4 }),
    failures: integer({ min: 0, max: 3 }),
  }),
  record({ kind: constant("sleep" as const), seconds: integer({ min: 0, max: 100 }) }),
  record({ kind: constant("wait" as const), seconds: integer({ min: 1, max: 100 }) }),
  record({ kind: constantFrom("send" as const, "invoke" as const, "crash" as const) }),
);
const fault = record({
  kind: constantFrom(...(["drop", "delay", "twice", "duplicate", "reorder"] as const)),
  times: integer({ min: 1, max: 3 }),
});
const seconds = integer({ min: 0, max: 150 });
const mishap = oneof(
  record({ kind: constant("restart" as const), atSeconds: seconds }),
  record({
    kind: constant("refuse" as const),
    atSeconds: seconds,
    forSeconds: integer({ min: 1, max: 60 }),
  }),
);
const play = record({
  seed: integer({ min: 0, max: 1_000_000 }),
  acts: array(act, { maxLength: 6 }),
  faults: array(fault, { maxLength: 4 }),
  mishaps: array(mishap, { maxLength: 3 }),
  sends: array(seconds, { minLength: 1, maxLength: 4 }),
  isSentAgain: boolean(),
  concurrency: integer({ min: 1, max: 3 }),
  checkpointing: boolean(),
});

/** The SDK waits in the machine's time before it asks a server again that refused it. */
beforeEach(() => {
  const wait = globalThis.setTimeout;
  vi.stubGlobal("setTimeout", (run: () => void, ms = 0) => wait(run, ms > 5_000 ? ms : 0));
});
afterEach(() => {
  vi.unstubAllGlobals();
});

describe("any function under any faults", () => {
  it("ends every run that is known and remembers one result per step", async () => {
    await assert(
      asyncProperty(play, async (each) => {
        const { runs, remembered } = await playOut(each);
        expect(runs.filter((run) => run.endedAtMs === undefined)).toEqual([]);
        for (const tokens of remembered.values()) expect(tokens.size).toBe(1);
      }),
      { numRuns: 60 },
    );
  });

  it("runs once what was taken in since the last restart, and nothing of before", async () => {
    await assert(
      asyncProperty(play, async (each) => {
        const { runs, known, accepted, leftOver, wrongResponses } = await playOut(each);
        const ran = runs.flatMap((run) => (run.function === "app-parent" ? run.events : []));
        expect(ran).toHaveLength(known.size);
        expect(new Set(ran.map((event) => event.id))).toEqual(known);
        expect(leftOver).toBe(0);
        // A refused send is rejected and sent again, until each is taken in.
        expect(wrongResponses).toEqual([]);
        expect(accepted.size).toBe(each.sends.length);
        expect(each.isSentAgain ? known : accepted).toEqual(accepted);
      }),
      { numRuns: 60 },
    );
  });

  it("does the same again with the same seed", async () => {
    await assert(
      asyncProperty(play, async (each) => {
        const first = await playOut(each);
        const second = await playOut(each);
        expect(second.journal).toBe(first.journal);
      }),
      { numRuns: 20 },
    );
  });
});
