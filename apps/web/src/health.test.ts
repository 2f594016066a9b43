import { InputError } from "@evenkeel/core";
import { expect, test } from "vitest";

import { createHealthCheck } from "./health.ts";

test("however many ask, the database is asked once in five seconds", async () => {
  let now = 0;
  let asked = 0;
  const check = createHealthCheck(
    async () => {
      asked += 1;
    },
    { now: () => now },
  );
  for (now = 0; now < 5_000; now += 1_000) {
    const answers = await Promise.all(Array.from({ length: 100 }, async () => check()));
    expect(answers).toEqual(Array.from({ length: 100 }, () => ({ ok: true })));
  }
  expect(asked).toBe(1);
  now = 5_000;
  await check();
  expect(asked).toBe(2);
});

test("a ledger that fails is asked no more often, and only the reason's code is told", async () => {
  let now = 0;
  let asked = 0;
  let error: unknown = new InputError("invalid_payload", "with hunter2 in it");
  const check = createHealthCheck(
    () => {
      asked += 1;
      return Promise.reject(error);
    },
    { now: () => now },
  );
  expect(await check()).toEqual({ ok: false, reason: "invalid_payload" });
  error = new Error("with hunter2 in it");
  expect(await check()).toEqual({ ok: false, reason: "invalid_payload" });
  expect(asked).toBe(1);
  now = 5_000;
  expect(await check()).toEqual({ ok: false, reason: "internal" });
});

test("while a slow answer is awaited nobody asks again", async () => {
  let now = 0;
  let asked = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const check = createHealthCheck(
    () => {
      asked += 1;
      return promise;
    },
    { now: () => now },
  );
  const first = check();
  now = 60_000;
  const second = check();
  resolve();
  expect(await Promise.all([first, second])).toEqual([{ ok: true }, { ok: true }]);
  expect(asked).toBe(1);
});
