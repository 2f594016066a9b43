import { afterEach, beforeEach, expect, test } from "vitest";

import type { EffectOptions, EffectResult } from "../definition/job-effects.ts";
import { handleJob, type JobContext } from "../definition/job-handler.ts";
import { enqueue } from "../enqueue.ts";
import { countJob } from "../testing/count-job.ts";
import { enqueueCounts, setup, type Setup } from "../testing/setup.ts";
import type { DrainReport } from "./drain-report.ts";
import { createRunner } from "./runner.ts";

let t: Setup;
let calls: string[];
beforeEach(async () => {
  t = await setup();
  calls = [];
});
afterEach(() => t.close());

type Context = JobContext<{ n: number }>;

function drain(run: (job: Context) => Promise<unknown>): Promise<DrainReport> {
  const handlers = [handleJob(countJob, run)];
  const runner = createRunner({ ledger: t.ledger, handlers, owner: "o", random: () => 0.5 });
  return runner.drain({ budgetMs: 60_000, maxJobs: 1 });
}

/** A call that notes its key. */
function charge(
  job: Context,
  answer: () => EffectResult | Promise<EffectResult> = () => ({ receipt: 7 }),
  options?: EffectOptions,
): Promise<EffectResult> {
  return job.effects.once(
    "charge",
    async ({ idempotencyKey }) => {
      calls.push(idempotencyKey);
      return answer();
    },
    options,
  );
}

const fail = (): never => {
  throw Object.assign(new Error("connection reset"), { code: "ECONNRESET" });
};

async function effects(): Promise<unknown[]> {
  const { rows } = await t.database.pool.query(
    `SELECT "state", "tries", "result" FROM "evenkeel"."background_effect" ORDER BY "started_at"`,
  );
  return rows;
}

test("an attempt after the call returns what is on record, with the same value", async () => {
  await enqueueCounts(t, 1);
  const seen: unknown[] = [];
  await drain(async (job) => {
    seen.push(await charge(job, () => ({ b: 0.5, a: [null, "é"] })));
    seen.push(await charge(job));
    throw new Error("after the call");
  });
  await t.makeDue();
  await drain(async (job) => seen.push(await charge(job)));
  expect(calls).toHaveLength(1);
  expect(seen).toEqual(Array.from({ length: 3 }, () => ({ a: [null, "é"], b: 0.5 })));
  expect(await effects()).toMatchObject([{ state: "DONE", tries: 1 }]);
});

test("retry: what is in doubt is called again under the same key, in the same attempt and the next", async () => {
  await enqueueCounts(t, 1);
  await drain(async (job) => {
    await charge(job, fail).catch(() => {});
    await charge(job, fail);
  });
  await t.makeDue();
  expect(await drain((job) => charge(job))).toMatchObject({ succeeded: 1 });
  expect(calls).toHaveLength(3);
  expect(new Set(calls).size).toBe(1);
  expect(await effects()).toMatchObject([{ state: "DONE", tries: 3 }]);
});

test("park: what is in doubt is not called again, and its job is a dead letter, whatever the handler does", async () => {
  await enqueueCounts(t, 1);
  const park = { inDoubt: "park" } as const;
  await drain((job) => charge(job, fail, park));
  await t.makeDue();
  const report = await drain(async (job) => {
    await charge(job, undefined, park).catch((error: unknown) => calls.push(codeOf(error)));
    expect(job.signal.aborted).toBe(true);
    await job.completeIn(t.database.pool).catch((error: unknown) => calls.push(codeOf(error)));
  });
  expect(report).toMatchObject({ dead: 1, succeeded: 0 });
  expect(calls.slice(1)).toEqual(["effect_in_doubt", "effect_in_doubt"]);
  expect(await t.deadLetters()).toEqual([
    { reason: "in_doubt", error: expect.stringContaining("Effect charge of job") },
  ]);
});

test.each([
  ["it happened", { happened: true, result: { receipt: 9 } }, 1],
  ["it did not", { happened: false }, 2],
] as const)(
  "an operator who finds out that %s lets the job go on",
  async (_, decision, expected) => {
    await enqueueCounts(t, 1);
    const park = { inDoubt: "park" } as const;
    await drain((job) => charge(job, fail, park));
    await t.makeDue();
    await drain((job) => charge(job, undefined, park));
    const operator = t.ledger.asOperator("ada");
    const [letter] = await operator.deadLetters.list();
    await operator.effects.resolve(letter?.sourceId ?? "", "charge", decision);
    const job = { payload: `{"n":0}`, version: 1, maxAttempts: 3 };
    await operator.deadLetters.requeue([{ id: letter?.id ?? "", job }]);
    const seen: unknown[] = [];
    expect(
      await drain(async (again) => seen.push(await charge(again, undefined, park))),
    ).toMatchObject({ succeeded: 1 });
    expect(calls).toHaveLength(expected);
    expect(seen).toEqual([{ receipt: decision.happened ? 9 : 7 }]);
  },
);

test("a redriven job calls under the dead one's key", async () => {
  await enqueueCounts(t, 1);
  for (let attempt = 0; attempt < 3; attempt += 1) {
    await drain((job) => charge(job, fail));
    await t.makeDue();
  }
  const operator = t.ledger.asOperator("ada");
  const [letter] = await operator.deadLetters.list();
  expect(letter).toMatchObject({ reason: "exhausted" });
  const job = { payload: `{"n":0}`, version: 1, maxAttempts: 3 };
  await operator.deadLetters.requeue([{ id: letter?.id ?? "", job }]);
  await drain((again) => charge(again));
  expect(calls).toHaveLength(4);
  expect(new Set(calls).size).toBe(1);
});

test("didNotHappen: the next try is a first one, but never where an earlier one is in doubt", async () => {
  await enqueueCounts(t, 1);
  const refused = { inDoubt: "park", didNotHappen: () => true } as const;
  await drain((job) => charge(job, fail, refused));
  expect(await effects()).toEqual([]);
  await t.makeDue();
  await drain(async (job) => {
    await charge(job, fail, { inDoubt: "park", didNotHappen: fail }).catch(() => {});
    // The second try did not happen, the first may have.
    await charge(job, fail, { didNotHappen: () => true });
  });
  expect(await effects()).toMatchObject([{ state: "STARTED", tries: 2 }]);
  expect(new Set(calls).size).toBe(2);
});

test("two of one name at once: the second is refused; of two names, both are made", async () => {
  await enqueueCounts(t, 1);
  const report = await drain(async (job) => {
    const answers = await Promise.allSettled([
      charge(job),
      charge(job),
      job.effects.once("mail", async () => {}),
    ]);
    expect(answers).toMatchObject([
      { status: "fulfilled", value: { receipt: 7 } },
      { status: "rejected", reason: { code: "effect_in_progress" } },
      { status: "fulfilled", value: undefined },
    ]);
  });
  expect(report).toMatchObject({ succeeded: 1 });
});

test("a worker that was taken for dead records nothing, and begins nothing", async () => {
  await enqueueCounts(t, 1);
  const codes: string[] = [];
  const report = await drain(async (job) => {
    await charge(job, async () => {
      await t.expireLeases();
      await drain((other) => charge(other, () => ({ receipt: 8 })));
      return { receipt: 7 };
    }).catch((error: unknown) => codes.push(codeOf(error)));
    await job.effects
      .once("mail", async () => "sent")
      .catch((error: unknown) => codes.push(codeOf(error)));
  });
  expect(report).toMatchObject({ lost: 1, succeeded: 0 });
  expect(codes).toEqual(["lease_lost", "lease_lost"]);
  expect(new Set(calls).size).toBe(1);
  expect(await effects()).toEqual([{ state: "DONE", tries: 2, result: { receipt: 8 } }]);
});

test("a call that outlasts its attempt is in doubt", async () => {
  await enqueueCounts(t, 1);
  const abort = new AbortController();
  const handlers = [
    handleJob(countJob, (job) =>
      charge(job, async () => {
        abort.abort();
        throw job.signal.reason;
      }),
    ),
  ];
  const runner = createRunner({ ledger: t.ledger, handlers, owner: "o" });
  const options = { budgetMs: 60_000, maxJobs: 1, signal: abort.signal };
  expect(await runner.drain(options)).toMatchObject({ released: 1 });
  expect(await effects()).toMatchObject([{ state: "STARTED" }]);
});

test("an end is recorded even if the database is unavailable when the call returns", async () => {
  await enqueueCounts(t, 1);
  const { jobs } = t.ledger;
  let outages = 2;
  const ledger = {
    jobs: {
      ...jobs,
      effects: {
        ...jobs.effects,
        finish: async (...given: Parameters<typeof jobs.effects.finish>) => {
          const answer = await jobs.effects.finish(...given);
          // Once it was written and the response was lost.
          if ((outages -= 1) >= 0) throw Object.assign(new Error("gone"), { code: "57P01" });
          return answer;
        },
      },
    },
  };
  const handlers = [handleJob(countJob, (job) => charge(job))];
  const runner = createRunner({ ledger, handlers, owner: "o" });
  expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ succeeded: 1 });
  expect(await effects()).toMatchObject([{ state: "DONE", result: { receipt: 7 } }]);
});

test("a result that cannot be kept is dropped from the first, so that every attempt sees the same", async () => {
  await enqueueCounts(t, 1);
  const warnings: string[] = [];
  const quiet = (): void => {};
  const logger = {
    debug: quiet,
    info: quiet,
    error: quiet,
    warn: (e: string) => void warnings.push(e),
  };
  const handlers = [
    handleJob(countJob, async (job) => {
      expect(await charge(job, () => "x".repeat(70_000))).toBeUndefined();
      expect(await charge(job)).toBeUndefined();
    }),
  ];
  const runner = createRunner({ ledger: t.ledger, handlers, owner: "o", logger });
  expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ succeeded: 1 });
  expect(warnings).toEqual(["job.effect_result_dropped"]);
});

test("names and options out of range are refused before anything is written", async () => {
  await enqueue(t.database.pool, countJob, { tenantId: "t", payload: { n: 0 } });
  const names = ["", "x".repeat(201), "a\u0000b", "\uD800"];
  await drain(async (job) => {
    for (const name of names) {
      await expect(job.effects.once(name, async () => 1)).rejects.toMatchObject({
        code: "invalid_options",
      });
    }
    const options = JSON.parse(`{ "inDoubt": "maybe" }`);
    await expect(job.effects.once("a", async () => 1, options)).rejects.toMatchObject({
      code: "invalid_options",
    });
    await job.effects.once("x".repeat(200), async () => 1);
  });
  expect(await effects()).toHaveLength(1);
});

function codeOf(error: unknown): string {
  return typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
}
