import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, test } from "vitest";

import { setup, type Setup } from "../testing/setup.ts";
import type { RunStart } from "./run.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

function startOf(change: Partial<RunStart> = {}): RunStart {
  return {
    runId: randomUUID(),
    functionId: "app-process-background-jobs",
    eventName: "background/process.requested",
    dispatchKey: randomUUID(),
    owner: "worker-1",
    attempt: 0,
    ...change,
  };
}

test("a run keeps one row and one row per attempt, whoever goes on with it", async () => {
  const start = startOf();
  await t.ledger.runs.begin(start);
  await t.ledger.runs.finishAttempt({ ...start, error: "ECONNRESET" });
  const second = await t.ledger.runs.begin({ ...start, attempt: 1, owner: "worker-2" });
  await t.ledger.runs.finishAttempt({ ...start, attempt: 1 });
  expect(
    await t.ledger.runs.finish({
      ...start,
      status: "SUCCEEDED",
      fence: second?.fence ?? "",
      output: { jobs: 3 },
    }),
  ).toBe(true);
  expect(await t.ledger.asOperator("test").runs.find(start)).toMatchObject({
    status: "SUCCEEDED",
    owner: "worker-2",
    output: { jobs: 3 },
    attempts: [
      { attempt: 0, owner: "worker-1", error: "ECONNRESET" },
      { attempt: 1, owner: "worker-2", error: null },
    ],
  });
});

test("the writes of a worker that was replaced are refused", async () => {
  const start = startOf();
  const first = await t.ledger.runs.begin(start);
  const second = await t.ledger.runs.begin({ ...start, owner: "worker-2" });
  const late = { ...start, fence: first?.fence ?? "" };
  expect(await t.ledger.runs.heartbeat(late)).toBe(false);
  expect(await t.ledger.runs.finish({ ...late, status: "SUCCEEDED" })).toBe(false);
  expect(await t.ledger.runs.heartbeat({ ...start, fence: second?.fence ?? "" })).toBe(true);
});

test("an ended run is not begun again", async () => {
  const start = startOf();
  await t.ledger.runs.begin(start);
  expect(await t.ledger.runs.finish({ ...start, status: "FAILED", error: "boom" })).toBe(true);
  expect(await t.ledger.runs.begin(start)).toBeUndefined();
  expect(await t.ledger.runs.finish({ ...start, status: "SUCCEEDED" })).toBe(false);
});

test("the guard lets one run per function, window and continuation work", async () => {
  const start = startOf();
  const guard = { functionId: start.functionId, dispatchKey: randomUUID(), continuation: 0 };
  const runs = Array.from({ length: 50 }, () => randomUUID());
  const outcomes = await Promise.all(
    runs.map((runId) => t.ledger.guards.take({ ...guard, runId })),
  );
  expect(outcomes.filter(({ outcome }) => outcome === "taken")).toHaveLength(1);
  const winner = runs[outcomes.findIndex(({ outcome }) => outcome === "taken")] ?? "";
  expect(await t.ledger.guards.take({ ...guard, runId: winner })).toEqual({ outcome: "taken" });
  expect(await t.ledger.guards.take({ ...guard, runId: "late" })).toEqual({
    outcome: "held",
    runId: winner,
  });
  expect(await t.ledger.guards.take({ ...guard, continuation: 1, runId: "next" })).toEqual({
    outcome: "taken",
  });
});

test("a failed holder gives the guard way to a redrive", async () => {
  const start = startOf();
  const guard = {
    functionId: start.functionId,
    dispatchKey: start.dispatchKey ?? "",
    continuation: 0,
  };
  await t.ledger.runs.begin(start);
  await t.ledger.guards.take({ ...guard, runId: start.runId });
  await t.ledger.runs.finish({ ...start, status: "FAILED", error: "boom" });
  expect(await t.ledger.guards.take({ ...guard, runId: "redrive" })).toEqual({ outcome: "taken" });
  expect(await t.ledger.guards.take({ ...guard, runId: start.runId })).toEqual({
    outcome: "held",
    runId: "redrive",
  });
});

test("a failure reported twice files one letter", async () => {
  const letter = {
    kind: "RUN",
    sourceId: randomUUID(),
    name: "app-process-background-jobs",
    reason: "exhausted",
    error: "boom",
    payload: { a: 1 },
  } as const;
  const first = await t.ledger.deadLetters.file(letter);
  const second = await t.ledger.deadLetters.file({ ...letter, error: "boom again" });
  expect(first.created).toBe(true);
  expect(second).toEqual({ id: first.id, created: false });
});

test("the report counts two runs that did one window's work, and nothing else, as duplicates", async () => {
  const before = await t.ledger.report();
  const dispatchKey = randomUUID();
  for (const status of ["SUCCEEDED", "SKIPPED_DUPLICATE", "FAILED"] as const) {
    const start = startOf({ dispatchKey });
    await t.ledger.runs.begin(start);
    await t.ledger.runs.finish({ ...start, status });
  }
  expect((await t.ledger.report()).runs.duplicateForWindow).toBe(before.runs.duplicateForWindow);
  const second = startOf({ dispatchKey });
  await t.ledger.runs.begin(second);
  expect((await t.ledger.report()).runs.duplicateForWindow).toBe(before.runs.duplicateForWindow);
  await t.ledger.runs.finish({ ...second, status: "SUCCEEDED" });
  expect((await t.ledger.report()).runs.duplicateForWindow).toBe(
    before.runs.duplicateForWindow + 1,
  );
});

test("a stale run that comes back cannot end as the one that did the work once another has its window", async () => {
  const start = startOf({ dispatchKey: randomUUID() });
  const { functionId, dispatchKey } = start;
  const guard = { functionId, dispatchKey: dispatchKey ?? "", continuation: 0 };
  const begun = await t.ledger.runs.begin(start);
  await t.ledger.guards.take({ ...guard, runId: start.runId });
  await t.database.pool.query(
    `UPDATE evenkeel.background_function_run SET status = 'STALE' WHERE run_id = $1`,
    [start.runId],
  );
  await t.ledger.guards.take({ ...guard, runId: "replacement" });
  const end = { ...start, ...begun };
  expect(await t.ledger.runs.finish({ ...end, status: "SUCCEEDED" })).toBe(false);
  expect(
    await t.ledger.runs.finish({
      ...end,
      status: "SKIPPED_DUPLICATE",
      duplicateOf: "replacement",
    }),
  ).toBe(true);
});
