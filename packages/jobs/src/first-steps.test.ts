import { createLedger } from "@evenkeel/ledger";
import { afterAll, beforeAll, expect, test } from "vitest";

import { handleJob } from "./definition/job-handler.ts";
import { enqueue } from "./enqueue.ts";
import { createRunner } from "./runner/runner.ts";
import { countJob } from "./testing/count-job.ts";
import { setup, type Setup } from "./testing/setup.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

const handler = handleJob(countJob, async () => {});
const input = { tenantId: "t", payload: { n: 1 } };

/** What a caller without types passes. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- it takes the type of wherever it stands
function untyped<Wanted>(given: unknown): Wanted {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a wrong value is what these tests are about
  return given as Wanted;
}

const steps: readonly (readonly [string, () => unknown, RegExp])[] = [
  [
    "enqueue with a handler",
    () => enqueue(t.database.pool, untyped<typeof countJob>(handler), input),
    /pass the definition that it was made of/u,
  ],
  [
    "a handler without a definition",
    () => handleJob(untyped<typeof countJob>(undefined), async () => {}),
    /may import each other in a circle/u,
  ],
  [
    "a handler without work",
    () => handleJob(countJob, untyped(undefined)),
    /and the function that/u,
  ],
  [
    "a runner with a pool",
    () => createRunner({ ledger: untyped(t.database.pool), handlers: [handler], owner: "o" }),
    /pass createLedger\(\{ pool \}\)/u,
  ],
  [
    "a runner with a definition",
    () =>
      createRunner({ ledger: createLedger(t.database), handlers: untyped([countJob]), owner: "o" }),
    /pass handleJob\(definition, run\)/u,
  ],
  ["a ledger of nothing", () => createLedger(untyped({})), /got neither/u],
  [
    "a ledger of a pool that is none",
    () => createLedger(untyped({ pool: undefined })),
    /that is none/u,
  ],
];

test.each(steps)("%s is refused with what to do", async (_, step, message) => {
  await expect((async () => step())()).rejects.toMatchObject({
    code: "invalid_options",
    message: expect.stringMatching(message),
  });
});

test("what comes after a close says so, from a ledger of its own and of a pool that ended", async () => {
  const pool = t.database.connect(1);
  const ledger = createLedger({ pool });
  await pool.end();
  const refused = { code: "closed", message: expect.stringContaining("after its last call") };
  await expect(ledger.jobs.counts()).rejects.toMatchObject(refused);
  const runner = createRunner({ ledger, handlers: [handler], owner: "o" });
  await expect(runner.drain({ budgetMs: 1_000 })).rejects.toMatchObject(refused);
});
