import { expect, test } from "vitest";

import { handleJob } from "../definition/job-handler.ts";
import { countJob } from "../testing/count-job.ts";
import { createManualClock } from "../testing/manual-clock.ts";
import { enqueueCounts, setup } from "../testing/setup.ts";
import { createRunner } from "./runner.ts";

test("the latest of all jobs is written in one statement, at most once a second", async () => {
  await using t = await setup();
  await enqueueCounts(t, 3);
  const clock = createManualClock();
  const { jobs } = t.ledger;
  const written: { readonly done: number; readonly total: number }[][] = [];
  let onWritten = (): void => {};
  const ledger = {
    jobs: {
      ...jobs,
      recordProgress: async (...given: Parameters<typeof jobs.recordProgress>) => {
        await jobs.recordProgress(...given);
        written.push(given[0].map(({ done, total }) => ({ done, total })));
        onWritten();
      },
    },
  };
  const nextWrite = async (work: () => void): Promise<void> => {
    const done = new Promise<void>((resolve) => {
      onWritten = resolve;
    });
    work();
    await done;
  };
  let running = 0;
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const allRun = Promise.withResolvers<undefined>();
  const says: ((done: number) => void)[] = [];
  const handler = handleJob(countJob, async ({ payload, progress }) => {
    says[payload.n] = (done) => progress(done, 10);
    running += 1;
    if (running === 3) allRun.resolve(undefined);
    await released;
  });
  const runner = createRunner({ ledger, handlers: [handler], owner: "o", clock });
  const drained = runner.drain({ budgetMs: 60_000 });
  await allRun.promise;
  await nextWrite(() => {
    for (const [n, say] of says.entries()) {
      say(1);
      say(2 + n);
    }
    clock.advance(0);
  });
  expect(written).toEqual([[2, 3, 4].map((done) => ({ done, total: 10 }))]);
  const before = await t.ledger.forTenant("t").jobs.list();
  expect(before.map(({ progress }) => progress?.done)).toEqual([4, 3, 2]);
  for (const done of [5, 6, 7]) {
    says[0]?.(done);
    clock.advance(300);
  }
  expect(written).toHaveLength(1);
  await nextWrite(() => clock.advance(100));
  expect(written[1]).toEqual([{ done: 7, total: 10 }]);
  release();
  expect(await drained).toMatchObject({ succeeded: 3 });
});

test("progress that cannot be written fails nothing; one that is no progress is refused", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1);
  const { jobs } = t.ledger;
  const recordProgress = (): Promise<never> => Promise.reject(new Error("no database"));
  const handler = handleJob(countJob, async ({ progress }) => {
    progress(0, 0);
    progress(1, 2.5);
    for (const [done, total] of [
      [3, 2],
      [-1, 2],
      [Number.NaN, 2],
      [1, Infinity],
    ] as const) {
      expect(() => progress(done, total)).toThrow(
        expect.objectContaining({ code: "invalid_options" }),
      );
    }
  });
  const ledger = { jobs: { ...jobs, recordProgress } };
  const runner = createRunner({ ledger, handlers: [handler], owner: "o" });
  expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ succeeded: 1 });
});
