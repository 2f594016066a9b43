import fc from "fast-check";
import { expect, test } from "vitest";

import { classify } from "./classify.ts";
import { parseMail } from "./mail.ts";
import { tenantOf } from "./tenant-of.ts";

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

test("the text in front of a huge attachment is read", async () => {
  const attachment = `--b\nContent-Type: application/pdf\n\n${"x".repeat(2_000_000)}\n--b--\n`;
  const mail = await parseMail(
    encode(`Content-Type: multipart/mixed; boundary=b\n\n--b\n\nSee it.\n${attachment}`),
  );
  expect(mail.text).toBe("See it.");
});

test.each([
  ["unclosed styles", `Content-Type: text/html\n\n${"<style ".repeat(100_000)}`],
  ["unclosed tags", `Content-Type: text/html\n\n${"<".repeat(500_000)}`],
  ["ids without end", `In-Reply-To: message from ${"<a> ".repeat(100_000)}\n\n`],
  ["a long subject", `Subject: ${"Re: [a] ".repeat(20_000)}\n\n`],
  ["a long sender", `Sender: ${"a-".repeat(100_000)}\n\n`],
  ["a long recipient", `To: ${"<a".repeat(100_000)}\n\n`],
  ["many lines", "\n x".repeat(20_000)],
])("%s cost no more than their length", async (_case, raw) => {
  expect(classify(await parseMail(encode(raw)))).toBe("automatic");
  expect(tenantOf(raw)).toBe("undisclosed");
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

test.each([
  ["<1@x>", ["1@x"]],
  ["Your message of Fri, 6 Sep 2002 <1@x>", ["1@x"]],
  ["message-id <1@x> of Fri, Sep 13 2002", ["1@x"]],
  ["Message from Ann <ann@example.org> of Fri, 6 Sep 2002 <1@x>", ["1@x"]],
  ["Message from Ann <ann@example.org> of Fri, 6 Sep 2002", []],
  ["<1@x.o rg>", ["1@x.org"]],
  ["<no-id>", []],
])("In-Reply-To: %s names %j", async (header, references) => {
  const mail = await parseMail(encode(`In-Reply-To: ${header}\n\nx`));
  expect(mail.references).toEqual(references);
});

test("a long list of references keeps its root and its end", async () => {
  const ids = Array.from({ length: 80 }, (_, index) => `${index}@x`);
  const mail = await parseMail(
    encode(`References: ${ids.map((id) => `<${id}>`).join("\n ")}\n\nx`),
  );
  expect(mail.references).toEqual(["0@x", ...ids.slice(-49)]);
});

test("no header of a message can begin a line of its own in the reply", async () => {
  const smuggled = Buffer.from("Hi\r\nBcc: all@example.org").toString("base64");
  const mail = await parseMail(
    encode(
      `Subject: =?utf-8?B?${smuggled}?=\nFrom: =?utf-8?B?${smuggled}?= <a@x.example>\n` +
        "Reply-To: Desk <Desk@X.example>\n\nx",
    ),
  );
  expect(mail.subject).toBe("Hi Bcc: all@example.org");
  expect(mail.from.name).not.toMatch(/[\r\n]/u);
  expect(mail.replyTo).toBe("desk@x.example");
});

test.each([
  ["person", "From: a@x.example\nSubject: Lunch?\n\nAre you free at noon?"],
  ["list", "From: a@x.example\nList-Id: <dev.x.example>\nSubject: [dev] Plan\n\nSee below."],
  ["bulk", "From: Shop <a@x.example>\nPrecedence: bulk\nSubject: News\n\nOur week."],
  ["automatic", "From: a@x.example\nAuto-Submitted: auto-replied\n\nI am away."],
  ["automatic", "Return-Path: <>\nFrom: a@x.example\n\nUndelivered."],
  ["automatic", "From: undisclosed\n\nNobody to answer."],
  ["spam", "From: x123456@x.example\nSubject: FREE MONEY NOW!!\n\nClick here. No obligation."],
  [
    "person",
    "From: A <a@x.example>\nIn-Reply-To: <1@x>\nSubject: Re: spam\n\nViagra, debts, pills?",
  ],
])("a message is %s: %j", async (mailClass, raw) => {
  expect(classify(await parseMail(encode(raw)))).toBe(mailClass);
});
