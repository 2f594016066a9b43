import { setTimeout as sleep } from "node:timers/promises";

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { handleJob } from "../definition/job-handler.ts";
import { createRunner, type Runner, type RunnerOptions } from "./runner.ts";
import { countJob } from "../testing/count-job.ts";
import { createManualClock } from "../testing/manual-clock.ts";
import { enqueueCounts, openQueue, type Queue } from "../testing/queue.ts";

let queue: Queue;
let ran: number;
beforeEach(async () => {
  queue = await openQueue();
  ran = 0;
});
afterEach(() => queue.close());

function open(change: Partial<RunnerOptions> = {}): Runner {
  const handler = handleJob(countJob, async () => {
    ran += 1;
  });
  return createRunner({ ledger: queue.ledger, handlers: [handler], owner: "o", ...change });
}

const hasPoller = (): Promise<boolean> => queue.ledger.jobs.hasPoller("stable");

test("a drain that lingers runs what is enqueued after its queue was empty, then ends by itself", async () => {
  const draining = open().drain({ budgetMs: 60_000, idleTimeoutMs: 1_500 });
  await vi.waitFor(async () => expect(await hasPoller()).toBe(true));
  for (const n of [1, 2, 3]) {
    await enqueueCounts(queue, 1);
    await vi.waitFor(() => expect(ran).toBe(n));
  }
  expect(await draining).toMatchObject({ claimed: 3, succeeded: 3, remaining: false });
  expect(await hasPoller()).toBe(false);
});

test("one drain of a lane lingers; the others end when nothing is due", async () => {
  const stop = new AbortController();
  const first = open().drain({ budgetMs: 60_000, idleTimeoutMs: 60_000, stopSignal: stop.signal });
  await vi.waitFor(async () => expect(await hasPoller()).toBe(true));
  const second = await open().drain({ budgetMs: 60_000, idleTimeoutMs: 60_000 });
  expect(second).toMatchObject({ claimed: 0, remaining: false, stopped: false });
  const canary = open({ lane: "canary" }).drain({
    budgetMs: 60_000,
    idleTimeoutMs: 60_000,
    stopSignal: stop.signal,
  });
  await vi.waitFor(async () => expect(await queue.ledger.jobs.hasPoller("canary")).toBe(true));
  stop.abort();
  expect(await canary).toMatchObject({ claimed: 0 });
  expect(await first).toMatchObject({ stopped: true, remaining: false });
  expect(await hasPoller()).toBe(false);
});

test("the poller lease of a dead host expires", async () => {
  const pollerId = "00000000-0000-4000-8000-000000000000";
  await queue.ledger.jobs.acquirePoller({ lane: "stable", pollerId, forMs: 300 });
  expect(await open().drain({ budgetMs: 60_000, idleTimeoutMs: 60_000 })).toMatchObject({
    claimed: 0,
  });
  await vi.waitFor(async () => expect(await hasPoller()).toBe(false));
  const stop = new AbortController();
  const draining = open().drain({
    budgetMs: 60_000,
    idleTimeoutMs: 60_000,
    stopSignal: stop.signal,
  });
  await vi.waitFor(async () => expect(await hasPoller()).toBe(true));
  stop.abort();
  await draining;
});

test("whoever enqueues and finds a poller on the lane has its job run, however the drains end", async () => {
  const runner = open();
  const over = new AbortController();
  let mayStart = true;
  const drains = (async () => {
    while (!over.signal.aborted) {
      if (mayStart) await runner.drain({ budgetMs: 60_000, idleTimeoutMs: Math.random() * 12 });
      await sleep(1);
    }
  })();
  let relied = 0;
  for (let n = 1; n <= 300; n += 1) {
    await sleep(Math.random() * 20);
    // From here on no other drain begins: the job is that one's which polls, at any point of its end.
    mayStart = false;
    await enqueueCounts(queue, 1);
    if (await hasPoller()) relied += 1;
    else mayStart = true;
    await vi.waitUntil(() => ran === n, { timeout: 60_000, interval: 1 });
    mayStart = true;
  }
  over.abort();
  await drains;
  expect(relied).toBeGreaterThan(10);
});

test("trouble with the poller lease costs no job and ends no drain", async () => {
  const { jobs } = queue.ledger;
  const acquirePoller = (): Promise<boolean> => Promise.reject(new Error("no table"));
  const runner = open({ ledger: { jobs: { ...jobs, acquirePoller } } });
  await enqueueCounts(queue, 3);
  expect(await runner.drain({ budgetMs: 60_000, idleTimeoutMs: 60_000 })).toMatchObject({
    succeeded: 3,
    remaining: false,
  });
});

test("while a rate holds due work back, the poller waits for it", async () => {
  await queue.ledger
    .asOperator("night")
    .queue.limit({ tenantId: "t" }, { rate: { jobs: 2, periodMs: 1_000 } });
  await enqueueCounts(queue, 5);
  expect(await open().drain({ budgetMs: 60_000, idleTimeoutMs: 1 })).toMatchObject({
    succeeded: 5,
  });
});

test("a drain whose first claim fails holds no poller lease afterwards, and claims nothing any more", async () => {
  const { jobs } = queue.ledger;
  const clock = createManualClock();
  let claims = 0;
  let acquired = 0;
  const claim: typeof jobs.claim = async (request) => {
    claims += 1;
    if (claims === 1) throw new Error("The database is away for a moment.");
    return jobs.claim(request);
  };
  const acquirePoller: typeof jobs.acquirePoller = async (request) => {
    acquired += 1;
    return jobs.acquirePoller(request);
  };
  const runner = open({ ledger: { jobs: { ...jobs, claim, acquirePoller } }, clock });
  const draining = runner.drain({ budgetMs: 60_000, idleTimeoutMs: 60_000 });
  await expect(draining).rejects.toThrow("away for a moment");
  expect(await hasPoller()).toBe(false);
  await enqueueCounts(queue, 1);
  clock.advance(60_000);
  await sleep(50);
  expect({ claims, acquired, ran }).toEqual({ claims: 1, acquired: 1, ran: 0 });
});

/** A runner whose jobs run until they are let go. */
function openHeld(): { readonly runner: Runner; readonly untrack: () => void } {
  const gate = Promise.withResolvers<undefined>();
  const handler = handleJob(countJob, async () => {
    ran += 1;
    await gate.promise;
  });
  const handlers = [handler];
  const runner = createRunner({ ledger: queue.ledger, handlers, owner: "o", concurrency: 2 });
  return { runner, untrack: () => gate.resolve(undefined) };
}

test("a drain that starts nothing any more polls no more, while its last jobs run", async () => {
  const { runner, untrack } = openHeld();
  const stop = new AbortController();
  const draining = runner.drain({
    budgetMs: 60_000,
    idleTimeoutMs: 60_000,
    stopSignal: stop.signal,
  });
  await enqueueCounts(queue, 1);
  await vi.waitFor(() => expect(ran).toBe(1));
  await vi.waitFor(async () => expect(await hasPoller()).toBe(true));
  stop.abort();
  await vi.waitFor(async () => expect(await hasPoller()).toBe(false));
  await enqueueCounts(queue, 1);
  untrack();
  expect(await draining).toMatchObject({ succeeded: 1, stopped: true, remaining: true });
});

test("a drain whose slots are all taken leaves the lane to others, and waits for new jobs afterwards", async () => {
  const { runner, untrack } = openHeld();
  const stop = new AbortController();
  const limits = { budgetMs: 60_000, idleTimeoutMs: 60_000 };
  const draining = runner.drain({ ...limits, stopSignal: stop.signal });
  await vi.waitFor(async () => expect(await hasPoller()).toBe(true));
  await enqueueCounts(queue, 2);
  await vi.waitFor(() => expect(ran).toBe(2));
  await vi.waitFor(async () => expect(await hasPoller()).toBe(false), { timeout: 10_000 });
  await enqueueCounts(queue, 1);
  expect(await open().drain({ ...limits, idleTimeoutMs: 1 })).toMatchObject({ succeeded: 1 });
  untrack();
  await vi.waitFor(async () => expect(await hasPoller()).toBe(true), { timeout: 10_000 });
  stop.abort();
  expect(await draining).toMatchObject({ succeeded: 2, remaining: false });
});

test("a drain whose deadline has no room for some types polls no more, and ends when nothing is due", async () => {
  const clock = createManualClock();
  const { jobs } = queue.ledger;
  const handlers = [
    handleJob({ ...countJob, timeoutMs: 1_000 }, async () => {}),
    handleJob({ ...countJob, type: "long", timeoutMs: 9_000 }, async () => {}),
  ];
  const claimed = Promise.withResolvers<undefined>();
  const claim: typeof jobs.claim = (request) =>
    jobs.claim(request).finally(() => claimed.resolve(undefined));
  const draining = open({ ledger: { jobs: { ...jobs, claim } }, handlers, clock }).drain({
    budgetMs: 60_000,
    idleTimeoutMs: 60_000,
    deadlineMs: 9_400,
  });
  await claimed.promise;
  await vi.waitFor(async () => expect(await hasPoller()).toBe(true));
  // The lease is renewed every 500 ms, by a drain that would pick up any job.
  clock.advance(500);
  expect(await draining).toMatchObject({ claimed: 0, stopped: false });
  expect(await hasPoller()).toBe(false);
});
