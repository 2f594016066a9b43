import { expect, test } from "vitest";

import { handleJob } from "../definition/job-handler.ts";
import { countJob } from "../testing/count-job.ts";
import { setup } from "../testing/setup.ts";
import { createRunner } from "./runner.ts";

test("two handlers of one type, or options out of range, are refused", async () => {
  await using t = await setup();
  const handler = handleJob(countJob, async () => {});
  const { ledger } = t;
  expect(() => createRunner({ ledger, handlers: [handler, handler], owner: "r" })).toThrow(
    expect.objectContaining({ code: "duplicate_definition" }),
  );
  for (const option of [
    { concurrency: 0 },
    { concurrency: 1.5 },
    { batchSize: 10_001 },
    { leaseMs: 999 },
    { leaseMs: Number.NaN },
    { settleDelayMs: -1 },
    { owner: "" },
    { owner: "x".repeat(201) },
    // Of a caller without types.
    JSON.parse(`{ "lane": "fast" }`),
    JSON.parse(`{ "owner": null }`),
  ]) {
    expect(() => createRunner({ ledger, handlers: [], owner: "r", ...option })).toThrow(
      expect.objectContaining({ code: "invalid_options" }),
    );
  }
});

test("drain options out of range are refused by a rejection", async () => {
  await using t = await setup();
  const handlers = [handleJob(countJob, async () => {})];
  const runner = createRunner({ ledger: t.ledger, handlers, owner: "r" });
  for (const option of [{ budgetMs: -1 }, { maxJobs: 0.5 }, { abortGraceMs: Number.NaN }]) {
    await expect(runner.drain({ budgetMs: 60_000, ...option })).rejects.toMatchObject({
      code: "invalid_options",
    });
  }
});
