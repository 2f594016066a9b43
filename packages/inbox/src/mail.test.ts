import fc from "fast-check";
import { expect, test } from "vitest";

import { classify } from "./classify.ts";
import { readCorpus } from "./corpus.ts";
import { parseMail } from "./mail.ts";
import { normaliseSubject, replySubject, threadOf } from "./thread.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

test("a plain message", async () => {
  const mail = await parseMail(
    encode(
      "From alice@example.org  Thu Aug 22 12:36:23 2002\n" +
        "From: Alice =?utf-8?B?w4k=?= <Alice@Example.org>\nSubject: Hello\nMessage-ID: <1@x>\n" +
        "References: <a@x> <b@x>\nIn-Reply-To: <b@x>\n\nHow are you?\n",
    ),
  );
  expect(mail).toMatchObject({
    messageId: "1@x",
    references: ["a@x", "b@x"],
    subject: "Hello",
    from: { name: "Alice É", address: "alice@example.org" },
    text: "How are you?",
  });
});

test.each([
  ["nothing at all", ""],
  ["an empty body", "Subject: x\n\n"],
  ["no header", "\n\njust text"],
  ["an unknown charset", "Content-Type: text/plain; charset=x-unheard-of\n\nh\u00e9llo"],
  ["a multipart without parts", "Content-Type: multipart/mixed; boundary=b\n\nno boundary here"],
  ["a multipart without a boundary", "Content-Type: multipart/mixed\n\n--b\n\nx\n--b--"],
  ["base64 that is none", "Content-Transfer-Encoding: base64\n\n%%%%"],
  ["a header without an end", `Subject: ${"x".repeat(5_000)}`],
  ["an address of nonsense", "From: <<<>>> ,,, @\nTo: ;;;\n\nx"],
])("%s is ordinary input", async (_case, raw) => {
  const mail = await parseMail(encode(raw));
  expect(mail.subject.length).toBeLessThanOrEqual(500);
  expect(classify(mail)).toBeTypeOf("string");
});

test("any bytes parse, to texts that Postgres can store", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 2_000 }), async (raw) => {
      const mail = await parseMail(raw);
      for (const text of [mail.subject, mail.text, mail.from.name, mail.messageId]) {
        expect(text).not.toContain("\u0000");
        expect(text.isWellFormed()).toBe(true);
      }
    }),
  );
});

test("every third message of the corpus parses, and most have a sender, a subject and a text", async () => {
  let count = 0;
  let full = 0;
  const classes = new Set<string>();
  const tenants = new Set<string>();
  for await (const { raw, tenantId } of readCorpus({ limit: 2_000 })) {
    const mail = await parseMail(raw);
    count += 1;
    if (mail.from.address !== "" && mail.subject !== "" && mail.text !== "") full += 1;
    classes.add(classify(mail));
    tenants.add(tenantId);
  }
  expect(count).toBe(2_000);
  expect(full).toBeGreaterThan(1_800);
  expect(classes).toEqual(new Set(["person", "list", "bulk", "automatic", "spam"]));
  expect(tenants.size).toBeGreaterThan(10);
});

test("a thread is the same for all its messages, in whatever order they come", () => {
  const first = { messageId: "1@x", references: [], subject: "Plan" };
  const second = { messageId: "2@x", references: ["1@x"], subject: "Re: Plan" };
  const third = { messageId: "3@x", references: ["1@x", "2@x"], subject: "Re: Re: Plan" };
  expect([third, first, second].map((mail) => threadOf(mail, "row"))).toEqual([
    "1@x",
    "1@x",
    "1@x",
  ]);
  expect(threadOf({ messageId: "", references: [], subject: "Plan" }, "row")).toBe("row");
  expect(threadOf({ messageId: "9@x", references: [], subject: "RE: [list] Plan" }, "row")).toBe(
    "subject:plan",
  );
});

test("marks of replies never pile up", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 100 }), (subject) => {
      expect(replySubject(replySubject(subject))).toBe(replySubject(subject));
      expect(normaliseSubject(normaliseSubject(subject))).toBe(normaliseSubject(subject));
    }),
  );
});
