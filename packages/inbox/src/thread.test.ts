import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import { createInbox } from "./inbox.ts";
import { linkThread, normaliseSubject, replySubject, threadLinks } from "./thread.ts";
import { inTransaction } from "./transaction.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await createInbox({ pool: database.pool }).prepare();
});
afterAll(() => database.drop());

const mail = { messageId: "1@x", references: [] as string[], subject: "Plan" };

/** The thread of each message's own link, after all were linked one by one or all at once. */
async function threadsOf(
  tenantId: string,
  messages: readonly (readonly string[])[],
  atOnce = false,
): Promise<Map<string, string>> {
  const link = (links: readonly string[]): Promise<void> =>
    inTransaction(database.pool, (tx) => linkThread(tx, { tenantId, links }));
  if (atOnce) await Promise.all(messages.map(link));
  else for (const links of messages) await link(links);
  const { rows } = await database.pool.query<{ link: string; thread_id: string }>(
    `SELECT "link", "thread_id" FROM "inbox"."thread_link" WHERE "tenant_id" = $1`,
    [tenantId],
  );
  return new Map(rows.map(({ link: name, thread_id: thread }) => [name, thread]));
}

test("a message is tied to itself and what it refers to, or to the subject that it answers", () => {
  expect(threadLinks(mail, "row")).toEqual(["id:1@x"]);
  expect(threadLinks({ ...mail, references: ["0@x"], subject: "Re: Plan" }, "row")).toEqual([
    "id:1@x",
    "id:0@x",
  ]);
  expect(threadLinks({ ...mail, subject: "[dev] RE: Plan" }, "row")).toEqual([
    "id:1@x",
    "subject:plan",
  ]);
  expect(threadLinks({ ...mail, messageId: "" }, "row")).toEqual(["row:row"]);
  expect(threadLinks({ ...mail, subject: "Fwd: Plan" }, "row")).toEqual(["id:1@x"]);
  expect(threadLinks({ ...mail, subject: "Re:" }, "row")).toEqual(["id:1@x"]);
});

test("mailers that name only the message before theirs keep the thread together", async () => {
  const chain = [["id:1"], ["id:2", "id:1"], ["id:3", "id:2"], ["id:4", "id:3"]];
  const threads = await threadsOf("chain", [chain[3], chain[0], chain[2], chain[1]] as string[][]);
  expect(new Set(threads.values())).toEqual(new Set(["id:1"]));
});

test("threads are the same in whatever order the messages come, and when they come at once", async () => {
  const id = fc.integer({ min: 0, max: 12 }).map((number) => `id:${number}`);
  const conversation = fc.array(fc.array(id, { minLength: 1, maxLength: 3 }), { maxLength: 12 });
  let run = 0;
  await fc.assert(
    fc.asyncProperty(conversation, fc.infiniteStream(fc.nat()), async (messages, keys) => {
      run += 1;
      const shuffled = messages
        .map((links) => ({ links, key: keys.next().value as number }))
        .toSorted((a, b) => a.key - b.key)
        .map(({ links }) => links);
      const inOrder = await threadsOf(`${run}-a`, messages);
      expect(await threadsOf(`${run}-b`, shuffled)).toEqual(inOrder);
      expect(await threadsOf(`${run}-c`, messages, true)).toEqual(inOrder);
      for (const links of messages) {
        expect(new Set(links.map((link) => inOrder.get(link))).size).toBe(1);
      }
    }),
    { numRuns: 20 },
  );
});

test("tenants that share a message id share no thread", async () => {
  const one = await threadsOf("t-1", [["id:a", "id:shared"]]);
  const two = await threadsOf("t-2", [["id:z", "id:shared"]]);
  expect(one.get("id:shared")).toBe("id:a");
  expect(two.get("id:shared")).toBe("id:shared");
});

test("marks of replies never pile up", () => {
  expect(replySubject("Re: RE[2]: AW: Plan")).toBe("Re: Plan");
  expect(replySubject("  ")).toBe("Re: your message");
  const mark = fc.constantFrom("Re: ", "RE:", "Re[3]: ", "Aw: ", "Sv: ", "[list] ", "Fwd: ", "");
  const subject = fc.tuple(fc.array(mark), fc.string({ maxLength: 60 }));
  fc.assert(
    fc.property(subject, ([marks, rest]) => {
      const text = `${marks.join("")}${rest}`;
      expect(replySubject(replySubject(text))).toBe(replySubject(text));
      expect(normaliseSubject(normaliseSubject(text))).toBe(normaliseSubject(text));
      expect(normaliseSubject(replySubject(`x${text}`))).toBe(normaliseSubject(`x${text}`));
    }),
  );
});
