import { silentLogger } from "@evenkeel/core";
import type { JobClaim } from "@evenkeel/ledger";
import { expect, test } from "vitest";

import { handleJob } from "../../definition/job-handler.ts";
import { countJob } from "../../testing/count-job.ts";
import { createManualClock } from "../../testing/manual-clock.ts";
import type { WaitingJob } from "./local-queue.ts";
import { StartQueue } from "./start-queue.ts";

const leaseMs = 30_000;
const handler = handleJob(countJob, async () => {});

function waitingOf(id: number): WaitingJob {
  const fields = { type: "count", version: 1, payload: { n: id }, priority: 0, attempt: 1 };
  const rest = { maxAttempts: 3, crashes: 0, fence: `${id}0`, runAt: new Date(0), errors: [] };
  const job = { id: `${id}`, tenantId: "t", ...fields, ...rest, correlationId: null };
  return { job, handler, mayMark: true, mark: "none", isWaiting: false };
}

/** A queue on a clock of its own, whose statements are answered by hand. */
function open() {
  const clock = createManualClock();
  const outcomes: string[] = [];
  const asked: {
    readonly claims: readonly JobClaim[];
    answer: PromiseWithResolvers<Set<string>>;
  }[] = [];
  let written = 0;
  const starts = new StartQueue({
    jobs: {
      start: (claims) => {
        const answer = Promise.withResolvers<Set<string>>();
        asked.push({ claims, answer });
        return answer.promise;
      },
    },
    leaseMs,
    clock,
    logger: silentLogger,
    onOutcome: ({ job }, outcome) => void outcomes.push(`${job.id} ${outcome}`),
    onWritten: () => {
      written += 1;
    },
  });
  /** Lets promises that are settled have their effects. */
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  };
  return { clock, outcomes, asked, starts, settle, written: () => written };
}

test("one statement is under way at a time, and what comes in meanwhile goes with the next", async () => {
  const { asked, outcomes, settle, starts, written } = open();
  starts.add(waitingOf(1));
  starts.add(waitingOf(2));
  starts.flush();
  starts.add(waitingOf(3));
  starts.add(waitingOf(4));
  starts.flush();
  expect(asked.map(({ claims }) => claims)).toEqual([
    [
      { id: "1", fence: "10" },
      { id: "2", fence: "20" },
    ],
  ]);
  asked[0]?.answer.resolve(new Set(["2"]));
  await settle();
  expect(outcomes).toEqual(["1 lost", "2 marked"]);
  expect(written()).toBe(1);
  starts.flush();
  expect(asked[1]?.claims.map(({ id }) => id)).toEqual(["3", "4"]);
  expect(starts.isIdle).toBe(false);
  asked[1]?.answer.resolve(new Set(["3", "4"]));
  await settle();
  expect(outcomes.slice(2)).toEqual(["3 marked", "4 marked"]);
  expect(starts.isIdle).toBe(true);
});

test("a statement that fails is tried again, and given up after half a lease", async () => {
  const { asked, clock, outcomes, settle, starts } = open();
  starts.add(waitingOf(1));
  starts.flush();
  asked[0]?.answer.reject(new Error("connection reset"));
  await settle();
  expect(asked).toHaveLength(1);
  clock.advance(50);
  await settle();
  asked[1]?.answer.resolve(new Set(["1"]));
  await settle();
  expect(outcomes).toEqual(["1 marked"]);

  starts.add(waitingOf(2));
  starts.flush();
  for (let tries = 2; !starts.isIdle; tries += 1) {
    asked[tries]?.answer.reject(new Error("connection reset"));
    await settle();
    clock.advance(1_000);
    await settle();
  }
  expect(clock.now()).toBeLessThanOrEqual(50 + leaseMs / 2 + 2_000);
  expect(outcomes).toEqual(["1 marked", "2 failed"]);
});

test("a statement without an answer is given up after half a lease, and what it answers later is dropped", async () => {
  const { asked, clock, outcomes, settle, starts } = open();
  starts.add(waitingOf(1));
  starts.flush();
  clock.advance(leaseMs / 2);
  await settle();
  clock.advance(1_000);
  await settle();
  expect(outcomes).toEqual(["1 failed"]);
  asked[0]?.answer.resolve(new Set(["1"]));
  await settle();
  expect(outcomes).toEqual(["1 failed"]);
});

test("when nothing is to start any more, what was not sent is dropped, and a failed batch is not tried again", async () => {
  const { asked, outcomes, settle, starts } = open();
  starts.add(waitingOf(1));
  starts.flush();
  starts.add(waitingOf(2));
  starts.close();
  asked[0]?.answer.reject(new Error("connection reset"));
  await settle();
  expect(outcomes).toEqual(["1 failed"]);
  expect(asked).toHaveLength(1);
  expect(starts.isIdle).toBe(true);
});
