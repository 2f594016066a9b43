import { afterEach, beforeEach, expect, test } from "vitest";

import { handleJob } from "../definition/job-handler.ts";
import { countJob } from "../testing/count-job.ts";
import { createManualClock, type ManualClock } from "../testing/manual-clock.ts";
import { enqueueCounts, setup, type Setup } from "../testing/setup.ts";
import { createRunner, type Runner, type RunnerOptions } from "./runner.ts";

type JobStore = RunnerOptions["ledger"]["jobs"];

let t: Setup;
let clock: ManualClock;
let ran: number;
/** The ledger's store, with poller leases that no pause of a slow machine outlasts: only a test ends them. */
let jobs: JobStore;
beforeEach(async () => {
  t = await setup();
  clock = createManualClock();
  ran = 0;
  const store = t.ledger.jobs;
  jobs = {
    ...store,
    acquirePoller: (request) => store.acquirePoller({ ...request, forMs: 3_600_000 }),
  };
});
afterEach(() => t.close());

/** A runner on the test's clock, with a lease that no claim of a slow machine outlasts. */
function open(change: Partial<RunnerOptions> = {}): Runner {
  const handler = handleJob(countJob, async () => {
    ran += 1;
  });
  const options = { ledger: { jobs }, handlers: [handler], owner: "o", leaseMs: 3_600_000, clock };
  return createRunner({ ...options, ...change });
}

const limits = { budgetMs: 3_600_000, idleTimeoutMs: 60_000 };

const hasPoller = (): Promise<boolean> => t.ledger.jobs.hasPoller("stable");

/** Lets the drains' time pass, a poll's pause for every question to the database, until something is so. */
async function advanceUntil(
  isSo: () => boolean | Promise<boolean>,
  mayPass: () => boolean = () => true,
): Promise<void> {
  for (;;) {
    await hasPoller();
    if (await isSo()) return;
    if (mayPass()) clock.advance(20);
  }
}

/** Waits until something is so, while the drains' time stands still. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo()));
}

test("a drain with an idle timeout runs what is enqueued after its queue was empty, then ends by itself", async () => {
  let hasEnded = false;
  const draining = open()
    .drain({ ...limits, idleTimeoutMs: 1_500 })
    .finally(() => {
      hasEnded = true;
    });
  await until(hasPoller);
  for (const n of [1, 2, 3]) {
    await enqueueCounts(t, 1);
    await advanceUntil(() => ran === n);
  }
  const seenAtMs = clock.now();
  await advanceUntil(() => hasEnded);
  expect(clock.now() - seenAtMs).toBeGreaterThanOrEqual(1_500);
  expect(await draining).toMatchObject({ claimed: 3, succeeded: 3, remaining: false });
  expect(await hasPoller()).toBe(false);
});

test("one drain of a lane polls; others that do not stand by end when nothing is due", async () => {
  const stop = new AbortController();
  const first = open().drain({ ...limits, stopSignal: stop.signal });
  await until(hasPoller);
  const second = await open().drain({ ...limits, standby: false });
  expect(second).toMatchObject({ claimed: 0, remaining: false, stopped: false });
  const canary = open({ lane: "canary" }).drain({ ...limits, stopSignal: stop.signal });
  await until(() => t.ledger.jobs.hasPoller("canary"));
  stop.abort();
  expect(await canary).toMatchObject({ claimed: 0 });
  expect(await first).toMatchObject({ stopped: true, remaining: false });
  expect(await hasPoller()).toBe(false);
});

test("the poller lease of a dead host expires", async () => {
  const pollerId = "00000000-0000-4000-8000-000000000000";
  await jobs.acquirePoller({ lane: "stable", pollerId, forMs: 1 });
  expect(await open().drain({ ...limits, standby: false })).toMatchObject({ claimed: 0 });
  expect(await hasPoller()).toBe(true);
  await t.database.pool.query(
    `UPDATE evenkeel.background_job_poller SET lease_expires_at = now() - interval '1 second'`,
  );
  expect(await hasPoller()).toBe(false);
  const stop = new AbortController();
  const draining = open().drain({ ...limits, stopSignal: stop.signal });
  await until(hasPoller);
  stop.abort();
  await draining;
});

/**
 * A store that stops at each call of a drain and at each response, and lets `visit` do something there. Points are
 * named by call and side, as `before releasePoller`. `isAtRest`: none of these calls is under way.
 */
function stopAtPoints(visit: (point: string) => Promise<void>): {
  readonly store: JobStore;
  readonly isAtRest: () => boolean;
} {
  let underWay = 0;
  const around = async <Response>(
    name: string,
    call: () => Promise<Response>,
  ): Promise<Response> => {
    underWay += 1;
    try {
      await visit(`before ${name}`);
      const response = await call();
      await visit(`after ${name}`);
      return response;
    } finally {
      underWay -= 1;
    }
  };
  const store: JobStore = {
    ...jobs,
    claim: (request) => around("claim", () => jobs.claim(request)),
    acquirePoller: (request) => around("acquirePoller", () => jobs.acquirePoller(request)),
    releasePoller: (request) => around("releasePoller", () => jobs.releasePoller(request)),
  };
  return { store, isAtRest: () => underWay === 0 };
}

test("whoever enqueues and finds a poller on the lane has its job run by that drain, at any point of its life", async () => {
  const relied = new Set<string>();
  /** Enqueues at the first point that is chosen. Returns whether the drain came to one. */
  const probe = async (
    isChosen: (point: string) => boolean | Promise<boolean>,
  ): Promise<boolean> => {
    let isReached = false;
    let hasRelied = false;
    let hasEnded = false;
    const { store, isAtRest } = stopAtPoints(async (point) => {
      if (isReached || !(await isChosen(point)) || isReached) return;
      isReached = true;
      await enqueueCounts(t, 1);
      hasRelied = await hasPoller();
      if (hasRelied) relied.add(point);
    });
    const ranBefore = ran;
    const draining = open({ ledger: { jobs: store } })
      .drain({ ...limits, idleTimeoutMs: 30 })
      .finally(() => {
        hasEnded = true;
      });
    // Time stands still while the ledger is asked, so that each drain polls before it ends.
    await advanceUntil(() => hasEnded, isAtRest);
    await draining;
    // No other drain has begun: whoever relied on this one's lease has only this one.
    const isLeft = ran === ranBefore;
    expect(hasRelied && isLeft).toBe(false);
    await open().drain({ budgetMs: 3_600_000 });
    expect(ran - ranBefore).toBe(isReached ? 1 : 0);
    return isReached;
  };
  for (let chosen = 1, points = 0; await probe(() => (points += 1) === chosen); chosen += 1) {
    points = 0;
  }
  // While it polls, after a claim that found nothing, and at the last moment before the lease is gone. A drain's points
  // come in another order each time, and the last one need not have been among those above.
  for (const name of ["after acquirePoller", "after claim", "before releasePoller"]) {
    await probe(async (point) => point === name && (await hasPoller()));
    expect(relied).toContain(name);
  }
});

test("trouble with the poller lease costs no job and ends no drain", async () => {
  const acquirePoller = (): Promise<boolean> => Promise.reject(new Error("no table"));
  const runner = open({ ledger: { jobs: { ...jobs, acquirePoller } } });
  await enqueueCounts(t, 3);
  const draining = runner.drain({ ...limits, standby: false });
  expect(await draining).toMatchObject({ succeeded: 3, remaining: false });
});

test("loops over drains that wait, in several hosts, make a few drains a minute", async () => {
  const stop = new AbortController();
  let drains = 0;
  let claims = 0;
  const claim: JobStore["claim"] = (request) => {
    claims += 1;
    return jobs.claim(request);
  };
  const loop = async (): Promise<void> => {
    const runner = open({ ledger: { jobs: { ...jobs, claim } } });
    while (!stop.signal.aborted) {
      await runner.drain({ ...limits, idleTimeoutMs: 10_000, stopSignal: stop.signal });
      drains += 1;
    }
  };
  const loops = [loop(), loop(), loop()];
  await advanceUntil(() => clock.now() >= 30_000);
  stop.abort();
  await Promise.all(loops);
  expect(drains).toBeLessThan(20);
  // The poller asks four times a second and more often at first, the others once.
  expect(claims).toBeLessThan(500);
});

test("a drain that stands by takes the lane over when the poller ends, and runs what comes then", async () => {
  const [stopFirst, stopSecond] = [new AbortController(), new AbortController()];
  const first = open().drain({ ...limits, stopSignal: stopFirst.signal });
  await until(hasPoller);
  const second = open().drain({
    ...limits,
    idleTimeoutMs: 3_600_000,
    stopSignal: stopSecond.signal,
  });
  await advanceUntil(() => clock.now() >= 5_000);
  stopFirst.abort();
  expect(await first).toMatchObject({ claimed: 0, stopped: true });
  await advanceUntil(hasPoller);
  await enqueueCounts(t, 1);
  await advanceUntil(() => ran === 1);
  stopSecond.abort();
  expect(await second).toMatchObject({ succeeded: 1 });
});

test("while a rate holds due work back, the poller waits for it", async () => {
  await t.ledger
    .asOperator("night")
    .queue.limit({ tenantId: "t" }, { rate: { jobs: 4, periodMs: 1_000 } });
  await enqueueCounts(t, 5);
  let hasEnded = false;
  const draining = open()
    .drain({ ...limits, idleTimeoutMs: 1 })
    .finally(() => {
      hasEnded = true;
    });
  await advanceUntil(() => hasEnded);
  expect(await draining).toMatchObject({ succeeded: 5 });
});

test("a drain whose first claim fails holds no poller lease afterwards, and claims nothing any more", async () => {
  let claims = 0;
  let acquired = 0;
  const claim: JobStore["claim"] = async (request) => {
    claims += 1;
    if (claims === 1) throw new Error("The database is unavailable for a moment.");
    return jobs.claim(request);
  };
  const acquirePoller: JobStore["acquirePoller"] = async (request) => {
    acquired += 1;
    return jobs.acquirePoller(request);
  };
  const draining = open({ ledger: { jobs: { ...jobs, claim, acquirePoller } } }).drain(limits);
  await expect(draining).rejects.toThrow("unavailable for a moment");
  expect(await hasPoller()).toBe(false);
  await enqueueCounts(t, 1);
  clock.advance(60_000);
  expect(await hasPoller()).toBe(false);
  expect({ claims, acquired, ran }).toEqual({ claims: 1, acquired: 1, ran: 0 });
});

/** A runner with two slots, both for any tenant, whose jobs run until they are let end. */
function openHeld(change: Partial<RunnerOptions> = { singleTenant: true }): {
  readonly runner: Runner;
  readonly letEnd: () => void;
} {
  const gate = Promise.withResolvers<undefined>();
  const handler = handleJob({ ...countJob, timeoutMs: 3_600_000 }, async () => {
    ran += 1;
    await gate.promise;
  });
  const runner = open({ handlers: [handler], concurrency: 2, ...change });
  return { runner, letEnd: () => gate.resolve(undefined) };
}

test("a drain that starts nothing any more polls no more, while its last jobs run", async () => {
  const { runner, letEnd } = openHeld();
  const stop = new AbortController();
  const draining = runner.drain({ ...limits, stopSignal: stop.signal });
  await enqueueCounts(t, 1);
  await advanceUntil(() => ran === 1);
  await advanceUntil(hasPoller);
  stop.abort();
  await until(async () => !(await hasPoller()));
  await enqueueCounts(t, 1);
  letEnd();
  expect(await draining).toMatchObject({ succeeded: 1, stopped: true, remaining: true });
});

test("a drain whose slots are all taken leaves the lane to others, and waits for new jobs afterwards", async () => {
  const { runner, letEnd } = openHeld();
  const stop = new AbortController();
  const draining = runner.drain({ ...limits, stopSignal: stop.signal });
  await until(hasPoller);
  await enqueueCounts(t, 2);
  await advanceUntil(() => ran === 2);
  await advanceUntil(async () => !(await hasPoller()));
  await enqueueCounts(t, 1);
  expect(await open().drain({ budgetMs: 60_000 })).toMatchObject({ succeeded: 1 });
  letEnd();
  await advanceUntil(hasPoller);
  stop.abort();
  expect(await draining).toMatchObject({ succeeded: 2, remaining: false });
});

test("a drain in which a tenant has all the slots that it may leaves the lane to others", async () => {
  const { runner, letEnd } = openHeld({});
  const stop = new AbortController();
  const draining = runner.drain({ ...limits, stopSignal: stop.signal });
  await until(hasPoller);
  await enqueueCounts(t, 2);
  await advanceUntil(() => ran === 1);
  await advanceUntil(async () => !(await hasPoller()));
  stop.abort();
  letEnd();
  expect(await draining).toMatchObject({ succeeded: 1, remaining: true });
});

test("a drain whose deadline has no room for some types polls no more, and ends when nothing is due", async () => {
  const handlers = [
    handleJob({ ...countJob, timeoutMs: 1_000 }, async () => {}),
    handleJob({ ...countJob, type: "long", timeoutMs: 9_000 }, async () => {}),
  ];
  const claimed = Promise.withResolvers<undefined>();
  const claim: JobStore["claim"] = (request) =>
    jobs.claim(request).finally(() => claimed.resolve(undefined));
  const runner = open({ ledger: { jobs: { ...jobs, claim } }, handlers });
  const draining = runner.drain({ ...limits, deadlineMs: 9_400, standby: false });
  await claimed.promise;
  await until(hasPoller);
  // The lease is renewed every 500 ms, by a drain that would pick up any job.
  clock.advance(500);
  expect(await draining).toMatchObject({ claimed: 0, stopped: false });
  expect(await hasPoller()).toBe(false);
});
