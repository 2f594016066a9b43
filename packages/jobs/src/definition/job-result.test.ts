import { expect, expectTypeOf, test } from "vitest";
import { z } from "zod";

import { enqueue } from "../enqueue.ts";
import { createRunner } from "../runner/runner.ts";
import { setup, type Setup } from "../testing/setup.ts";
import { TerminalError } from "./attempt-error.ts";
import { defineJob } from "./job-definition.ts";
import { handleJob } from "./job-handler.ts";
import { parseResult } from "./job-result.ts";

const countWords = defineJob({
  type: "words.count",
  version: 1,
  payload: z.object({ text: z.string() }),
  result: z.object({ words: z.number(), at: z.string().transform((text) => new Date(text)) }),
});
const at = "2026-11-01T08:00:00.000Z";

async function record(
  t: Setup,
  text: string,
): ReturnType<ReturnType<Setup["ledger"]["forTenant"]>["jobs"]["find"]> {
  const { id } = await enqueue(t.database.pool, countWords, {
    tenantId: "t",
    payload: { text },
  });
  const handler = handleJob(countWords, async ({ payload }) => {
    if (payload.text === "") throw new TerminalError("There is no text.");
    return { words: payload.text.split(" ").length, at };
  });
  const runner = createRunner({ ledger: t.ledger, handlers: [handler], owner: "o" });
  await runner.drain({ budgetMs: 60_000 });
  return t.ledger.forTenant("t").jobs.find(id);
}

test("a result comes back in its schema's type", async () => {
  await using t = await setup();
  const found = await record(t, "a b c");
  if (found === undefined) throw new Error("The job is on record.");
  const result = parseResult(countWords, found);
  expectTypeOf(result).toEqualTypeOf<{ words: number; at: Date } | undefined>();
  expect(result).toEqual({ words: 3, at: new Date(at) });
  expect(parseResult(countWords, { ...found, result: null })).toBeUndefined();
});

test("a job that did not succeed, is of another type or returned something else has no such result", async () => {
  await using t = await setup();
  const dead = await record(t, "");
  if (dead === undefined) throw new Error("The job is on record.");
  expect(() => parseResult(countWords, dead)).toThrow(/has not succeeded: it is DEAD/u);
  const done = {
    id: "1",
    type: "words.count",
    status: "SUCCEEDED",
    result: { words: "3" },
  } as const;
  expect(() => parseResult(countWords, done)).toThrow(
    expect.objectContaining({ code: "invalid_result", message: expect.stringContaining("words") }),
  );
  expect(() => parseResult(countWords, { ...done, type: "other" })).toThrow(/is of type other/u);
});

test("a handler must return what its definition says; without a schema it may return anything", async () => {
  await using t = await setup();
  // @ts-expect-error -- words is missing
  handleJob(countWords, async () => ({ at }));
  // @ts-expect-error -- in the handler's own transaction too
  handleJob(countWords, async (job) => job.completeIn(t.database.pool, { words: 1 }));
  const free = defineJob({ type: "free", version: 1, payload: z.object({}) });
  handleJob(free, async () => {});
  const job = { id: "1", type: "free", status: "SUCCEEDED", result: [1] } as const;
  const result = parseResult(free, job);
  expectTypeOf(result).toBeUnknown();
  expect(result).toEqual([1]);
});

test("only what the result's schema lets through is kept, and what it refuses is dropped and logged", async () => {
  await using t = await setup();
  const events: unknown[] = [];
  const log = (event: string, fields: unknown) => events.push([event, fields]);
  const logger = { debug: log, info: log, warn: log, error: log };
  const results: unknown[] = [
    { words: 1, at, passwordHash: "hunter2" },
    { words: "secret", at },
  ];
  const handler = handleJob(
    countWords,
    async () => results.shift() as { words: number; at: string },
  );
  const runner = createRunner({ ledger: t.ledger, handlers: [handler], owner: "o", logger });
  for (const text of ["a", "b"]) {
    await enqueue(t.database.pool, countWords, { tenantId: "t", payload: { text } });
    await runner.drain({ budgetMs: 60_000 });
  }
  const history = await t.history();
  expect(history.map(({ outcome }) => outcome)).toEqual(["SUCCEEDED", "SUCCEEDED"]);
  expect(history.map(({ result }) => result)).toEqual([{ words: 1, at }, null]);
  const dropped = events.filter(
    (event) => Array.isArray(event) && event[0] === "job.result_dropped",
  );
  expect(dropped).toHaveLength(1);
  expect(JSON.stringify(dropped)).toContain("words: ");
  expect(JSON.stringify(dropped)).not.toContain("secret");
});

test("completeIn keeps of its result what the schema lets through", async () => {
  await using t = await setup();
  const { pool } = t.database;
  const handler = handleJob(countWords, async ({ completeIn }) => {
    const result = { words: 1, at, passwordHash: "hunter2" };
    const client = await pool.connect();
    await client.query("BEGIN");
    await completeIn(client, result);
    await client.query("COMMIT");
    client.release();
    return result;
  });
  const runner = createRunner({ ledger: t.ledger, handlers: [handler], owner: "o" });
  await enqueue(pool, countWords, { tenantId: "t", payload: { text: "a" } });
  await runner.drain({ budgetMs: 60_000 });
  expect(await t.history()).toMatchObject([{ result: { words: 1, at } }]);
  expect((await t.history())[0]?.result).not.toHaveProperty("passwordHash");
});
