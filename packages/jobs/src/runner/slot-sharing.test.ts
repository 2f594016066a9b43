import type { ClaimedJob } from "@evenkeel/ledger";
import { expect, test } from "vitest";

import { handleJob, type JobHandler } from "../definition/job-handler.ts";
import { countJob } from "../testing/count-job.ts";
import { createManualClock } from "../testing/manual-clock.ts";
import { enqueueCounts, setup, type Setup } from "../testing/setup.ts";
import { createRunner, type RunnerOptions } from "./runner.ts";

type JobStore = RunnerOptions["ledger"]["jobs"];

/** Longer than any pause of a slow machine. */
const leaseMs = 3_600_000;
const budgetMs = 3_600_000;

/** The ledger's store, and whom its claims leave out. */
function passingStore(t: Setup, passed: (readonly string[])[] = []): JobStore {
  const { jobs } = t.ledger;
  return {
    ...jobs,
    claim: async (request) => {
      if (request.exceptTenants !== undefined) passed.push(request.exceptTenants);
      return jobs.claim(request);
    },
  };
}

interface Hanging {
  readonly handler: JobHandler;
  /** The tenants of the jobs that run. */
  readonly running: string[];
  readonly most: () => number;
}

/** A handler whose jobs hang until their signals fire, but for those of tenants named as quick. */
function hangingHandler(isQuick: (tenantId: string, n: number) => boolean): Hanging {
  const running: string[] = [];
  let most = 0;
  const handler = handleJob(
    { ...countJob, timeoutMs: 3_600_000 },
    async ({ payload: { n }, tenantId, signal }) => {
      running.push(tenantId);
      most = Math.max(most, running.length);
      if (isQuick(tenantId, n)) running.splice(running.indexOf(tenantId), 1);
      else {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        signal.throwIfAborted();
      }
    },
  );
  return { handler, running, most: () => most };
}

/** Waits until something is so, a question to the database after the other. */
async function until(
  t: Setup,
  isSo: () => boolean | Promise<boolean>,
  mean = (): void => {},
): Promise<void> {
  while (!(await isSo())) {
    await t.ledger.jobs.hasPoller("stable");
    mean();
  }
}

test("beside a tenant whose jobs hang, another's job starts at once, with ten slots", async () => {
  await using t = await setup();
  await enqueueCounts(t, 30, "slow");
  const started = Promise.withResolvers<undefined>();
  const hanging = hangingHandler((tenantId) => {
    if (tenantId === "small") started.resolve(undefined);
    return tenantId === "small";
  });
  const passed: (readonly string[])[] = [];
  const abort = new AbortController();
  const draining = createRunner({
    ledger: { jobs: passingStore(t, passed) },
    handlers: [hanging.handler],
    owner: "r",
    concurrency: 10,
    leaseMs,
  }).drain({ budgetMs, signal: abort.signal });
  await until(t, () => hanging.running.length === 7);
  await enqueueCounts(t, 1, "small");
  await started.promise;
  // None of the others had to end for it, and no more of them were started.
  expect(hanging.running.filter((tenant) => tenant === "slow")).toHaveLength(7);
  expect(passed.flat()).toEqual(passed.map(() => "slow"));
  abort.abort();
  expect(await draining).toMatchObject({ succeeded: 1, retried: 0, lost: 0 });
});

test("with fewer hanging tenants than slots every other tenant's job starts, though no slot be free", async () => {
  await using t = await setup();
  const clock = createManualClock();
  const hanging = hangingHandler((tenantId) => tenantId === "small");
  const abort = new AbortController();
  const options = { handlers: [hanging.handler], owner: "r", concurrency: 4, leaseMs, clock };
  const runner = createRunner({ ledger: { jobs: passingStore(t) }, ...options });
  const draining = runner.drain({ budgetMs, idleTimeoutMs: 3_600_000, signal: abort.signal });
  for (const tenant of ["a", "b", "c"]) {
    await enqueueCounts(t, 9, tenant);
    await until(
      t,
      () => hanging.running.includes(tenant),
      () => clock.advance(20),
    );
  }
  // Two tenants more than the slots that one tenant had left; each of them had waited for no other's end.
  expect(hanging.running.toSorted()).toEqual(["a", "a", "a", "b", "c"]);
  const countSucceeded = async (): Promise<number> => (await t.ledger.jobs.counts()).succeeded ?? 0;
  await enqueueCounts(t, 3, "small");
  await until(
    t,
    async () => (await countSucceeded()) === 3,
    () => clock.advance(20),
  );
  expect(hanging.running.toSorted()).toEqual(["a", "a", "a", "b", "c"]);
  expect(hanging.most()).toBeLessThanOrEqual(2 * 4 - 1);
  abort.abort();
  expect(await draining).toMatchObject({ succeeded: 3, retried: 0, lost: 0 });
});

test("what is held when jobs turn out slow is released, for other hosts to run", async () => {
  await using t = await setup();
  await enqueueCounts(t, 900, "t");
  const hanging = hangingHandler((_tenantId, n) => n < 100);
  const abort = new AbortController();
  const options = { handlers: [hanging.handler], owner: "r", leaseMs };
  const { ledger } = t;
  const draining = createRunner({ ledger, ...options }).drain({ budgetMs, signal: abort.signal });
  await until(t, async () => {
    const { running } = await t.ledger.jobs.counts();
    return hanging.running.length === 7 && running === 7;
  });
  const handler = handleJob(countJob, async () => {});
  const other = createRunner({
    ledger: t.ledger,
    handlers: [handler],
    owner: "other",
    leaseMs,
  });
  expect(await other.drain({ budgetMs })).toMatchObject({ succeeded: 793 });
  abort.abort();
  expect(await draining).toMatchObject({ succeeded: 100, retried: 0, lost: 0 });
});

test("where as many tenants hang as there are slots, what others have waiting is released", async () => {
  await using t = await setup();
  for (const tenant of ["a", "b", "c"]) await enqueueCounts(t, 300, tenant);
  const hanging = hangingHandler((tenantId, n) => tenantId === "c" || n < 50);
  const abort = new AbortController();
  const options = { handlers: [hanging.handler], owner: "r", concurrency: 2, leaseMs };
  const draining = createRunner({ ledger: { jobs: passingStore(t) }, ...options }).drain({
    budgetMs,
    signal: abort.signal,
  });
  await until(t, async () => {
    const { running } = await t.ledger.jobs.counts();
    return hanging.running.length === 2 && running === 2;
  });
  expect(hanging.running.toSorted()).toEqual(["a", "b"]);
  const handler = handleJob(countJob, async () => {});
  const other = createRunner({
    ledger: t.ledger,
    handlers: [handler],
    owner: "other",
    leaseMs,
  });
  const report = await other.drain({ budgetMs });
  abort.abort();
  const { succeeded } = await draining;
  expect(report.succeeded + succeeded).toBe(3 * 300 - 2);
});

test("large payloads are held in smaller numbers", async () => {
  await using t = await setup();
  // One text for all, so that only the estimate grows.
  const text = "x".repeat(400 * 1024);
  let lastId = 0;
  const limits: number[] = [];
  const held = new Set<string>();
  let most = 0;
  const toIds = (claims: readonly { readonly id: string }[]): Set<string> =>
    new Set(claims.map(({ id }) => id));
  const jobs: JobStore = {
    ...t.ledger.jobs,
    claim: async ({ limit }) => {
      limits.push(limit);
      const count = lastId > 2_000 ? 0 : limit;
      const claimed = Array.from({ length: count }, (): ClaimedJob => {
        lastId += 1;
        const fields = { type: "count", version: 1, payload: { n: 1, text }, priority: 0 };
        const rest = { attempt: 1, maxAttempts: 3, crashes: 0, fence: "1", errors: [] };
        const times = { runAt: new Date(0), correlationId: null };
        return { id: String(lastId), tenantId: `t${lastId % 7}`, ...fields, ...rest, ...times };
      });
      for (const { id } of claimed) held.add(id);
      most = Math.max(most, held.size);
      return { jobs: claimed, throttled: false };
    },
    start: async (claims) => toIds(claims),
    settle: async (settlements) => {
      for (const { id } of settlements) held.delete(id);
      return toIds(settlements);
    },
    hasDue: async () => false,
    unknownTypes: async () => [],
  };
  const handler = handleJob(countJob, async () => {});
  const runner = createRunner({ ledger: { jobs }, handlers: [handler], owner: "r" });
  const report = await runner.drain({ budgetMs });
  expect(report.succeeded).toBe(report.claimed);
  expect(report.claimed).toBeGreaterThan(2_000);
  // 64 MiB hold about 163 such payloads; what has ended may wait for its settlement besides.
  expect(Math.max(...limits)).toBeLessThanOrEqual(170);
});
