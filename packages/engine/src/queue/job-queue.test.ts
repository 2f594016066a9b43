import { array, assert, boolean, integer, property, record } from "fast-check";
import { describe, expect, it } from "vitest";

import { parseFunction } from "../app/function-parser.ts";
import { type ConcurrencyClaim, type Run, newRun } from "../run/run.ts";
import { virtualClock } from "../time/clock.ts";
import { createTimerQueue } from "../time/timer-queue.ts";
import { createJobQueue } from "./job-queue.ts";
import type { Job } from "./job.ts";

const fn = parseFunction(
  {
    id: "app-f",
    name: "f",
    steps: { step: { id: "step", runtime: { url: "http://app/api" } } },
  },
  "app",
);

function setup() {
  const clock = virtualClock({ start: 0 });
  const timers = createTimerQueue({ clock, onDue: () => {} });
  const queue = createJobQueue({ timers, now: () => clock.now(), onReady: () => {} });
  let made = 0;
  const makeRun = (claims: readonly ConcurrencyClaim[] = [], headStartMs = 0): Run => {
    made += 1;
    return newRun(
      {
        id: `run-${made}`,
        fn,
        events: [],
        idempotencyKey: "",
        queuedAtMs: clock.now(),
        claims,
        runClaims: [],
        headStartMs,
      },
      made,
    );
  };
  return { clock, timers, queue, makeRun };
}

describe("job queue", () => {
  it("queues a job id once per run", () => {
    const { queue, makeRun } = setup();
    const run = makeRun();
    expect(queue.enqueue({ id: "x", kind: "discovery", run })).toBe(true);
    expect(queue.enqueue({ id: "x", kind: "discovery", run })).toBe(false);
    expect(queue.take()?.id).toBe("x");
    expect(queue.take()).toBeUndefined();
    expect(queue.enqueue({ id: "x", kind: "discovery", run })).toBe(false);
  });

  it("holds a job until its time", () => {
    const { clock, timers, queue, makeRun } = setup();
    queue.enqueue({ id: "later", kind: "sleep", run: makeRun(), atMs: 50 });
    expect(queue.take()).toBeUndefined();
    clock.moveTo(50);
    timers.runDue();
    expect(queue.take()?.id).toBe("later");
  });

  it("lets a run with a head start go first", () => {
    const { queue, makeRun } = setup();
    const slow = makeRun();
    const quick = makeRun([], 5_000);
    queue.enqueue({ id: "1", kind: "start", run: slow });
    queue.enqueue({ id: "2", kind: "start", run: quick });
    expect(queue.take()?.run).toBe(quick);
  });

  it("drops the jobs of a run that has ended, and passes its place on", () => {
    const { queue, makeRun } = setup();
    const claims = [{ key: "k", limit: 1 }];
    const [first, second, third] = [makeRun(claims), makeRun(claims), makeRun(claims)];
    for (const run of [first, second, third]) queue.enqueue({ id: "start", kind: "start", run });
    const job = queue.take();
    expect(queue.take()).toBeUndefined();
    second.status = "Cancelled";
    if (job !== undefined) queue.release(job);
    expect(queue.take()?.run).toBe(third);
  });

  it("never exceeds a limit and strands no job, whatever the claims and the order", () => {
    const claim = record({ a: boolean(), b: boolean(), isCancelled: boolean() });
    assert(
      property(
        array(claim, { minLength: 1, maxLength: 40 }),
        integer({ min: 1, max: 3 }),
        integer({ min: 1, max: 3 }),
        (jobs, limitA, limitB) => {
          const { queue, makeRun } = setup();
          const limits: Record<string, number> = { a: limitA, b: limitB };
          const used: Record<string, number> = { a: 0, b: 0 };
          const runs = jobs.map((each) => {
            const claims: ConcurrencyClaim[] = [];
            if (each.a) claims.push({ key: "a", limit: limitA });
            if (each.b) claims.push({ key: "b", limit: limitB });
            const run = makeRun(claims);
            queue.enqueue({ id: "start", kind: "start", run });
            return { run, isCancelled: each.isCancelled };
          });
          const active: Job[] = [];
          let done = 0;
          let isExceeded = false;
          for (const { run, isCancelled } of runs) if (isCancelled) run.status = "Cancelled";
          for (;;) {
            const job = queue.take();
            if (job !== undefined) {
              active.push(job);
              for (const { key } of job.run.claims) {
                used[key] = (used[key] ?? 0) + 1;
                isExceeded ||= (used[key] ?? 0) > (limits[key] ?? 0);
              }
              continue;
            }
            const finished = active.shift();
            if (finished === undefined) break;
            for (const { key } of finished.run.claims) used[key] = (used[key] ?? 0) - 1;
            queue.release(finished);
            done += 1;
          }
          expect(isExceeded).toBe(false);
          expect(done).toBe(runs.filter((each) => !each.isCancelled).length);
          expect(queue.waiting()).toBe(0);
        },
      ),
      { numRuns: 300 },
    );
  });
});
