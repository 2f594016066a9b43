import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { PrismaPg } from "@prisma/adapter-pg";
import { afterAll, beforeAll, expect, test } from "vitest";

import { PrismaClient } from "./generated/prisma/client.ts";
import { openQueue, type Queue } from "./testing/queue.ts";
import { runReadme } from "./testing/readme-example.ts";

let queue: Queue;
beforeAll(async () => {
  queue = await openQueue();
  await queue.database.pool.query(
    `CREATE TABLE draft (id text PRIMARY KEY, text text); CREATE TABLE invoice (order_id text)`,
  );
});
afterAll(() => queue.close());

const trim = (text: string): string[] =>
  text
    .replaceAll(/import [^;]*;/gu, "")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");

test("the README's code is the example's, line by line", async () => {
  const readme = await readFile(join(import.meta.dirname, "..", "README.md"), "utf8");
  const example = await readFile(join(import.meta.dirname, "testing", "readme-example.ts"), "utf8");
  const blocks = [...readme.matchAll(/```ts\n(.*?)```/gsu)].map(([, code = ""]) => code);
  expect(blocks.length).toBeGreaterThan(6);
  const text = trim(example).join("\n");
  const strangers = blocks
    .map((code) => trim(code).join("\n"))
    .filter((code) => !text.includes(code));
  expect(strangers).toEqual([]);
});

test("the example does what the README says", async () => {
  const prisma = new PrismaClient({ adapter: new PrismaPg(queue.database.pool) });
  const { report, replies, mails, explained, record, words, repeated } = await runReadme(
    prisma,
    queue.ledger,
  );
  expect(report).toMatchObject({ succeeded: 3, retried: 1, dead: 0, remaining: false });
  expect(replies).toMatchObject([{ draftId: "d-1" }]);
  expect(mails).toEqual(["d-1"]);
  expect(explained).toMatchObject({ cause: "scheduled" });
  expect(record).toMatchObject({ status: "SUCCEEDED", progress: null });
  expect([words, repeated]).toEqual([3, true]);
  const { rows } = await queue.database.pool.query(`SELECT order_id FROM invoice`);
  expect(rows).toEqual([{ order_id: "o-7" }]);
  await prisma.$disconnect();
});
