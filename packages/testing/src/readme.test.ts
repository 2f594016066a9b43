import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { defineJob, enqueue, handleJob } from "@evenkeel/jobs";
import type { TestCluster } from "@evenkeel/test-postgres/testing";
import { createTestBackground } from "@evenkeel/testing";
import { afterEach, beforeEach, expect, inject, it, vi } from "vitest";
import { z } from "zod";

beforeEach(() => {
  const { url, template }: TestCluster = inject("postgres");
  const named = new URL(url);
  named.pathname = `/${template}`;
  vi.stubEnv("DATABASE_URL", named.href);
});
afterEach(() => vi.unstubAllEnvs());

const payload: z.ZodObject<{ userId: z.ZodString }> = z.object({ userId: z.string() });
const remind = defineJob({ type: "user.remind", version: 1, payload });

it("reminds a user after an hour", async () => {
  const reminded: string[] = [];
  const handlers = [handleJob(remind, async ({ payload }) => void reminded.push(payload.userId))];
  await using app = await createTestBackground({ environment: process.env, handlers });

  const runAt = new Date(app.now().getTime() + 3_600_000);
  await enqueue(app.pool, remind, { tenantId: "t1", payload: { userId: "u1" }, runAt });
  await app.tick();
  expect(reminded).toEqual([]);

  await app.advance("1h");
  await app.tick(); // as the scheduler's request would: cron route, event, function, queue
  expect(reminded).toEqual(["u1"]);
  expect(await app.jobs({ status: "SUCCEEDED" })).toHaveLength(1);
  expect(await app.deadLetters()).toEqual([]);
});

it("shows in the README the test that stands above", async () => {
  const readme = await readFile(join(import.meta.dirname, "..", "README.md"), "utf8");
  const test = await readFile(import.meta.filename, "utf8");
  const [, code = ""] = /```ts\n.*?(it\(.*?)```/su.exec(readme) ?? [];
  expect(code).not.toBe("");
  expect(test).toContain(code);
});
