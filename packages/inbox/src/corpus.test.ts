import { maxTenantIdLength } from "@evenkeel/core";
import fc from "fast-check";
import { expect, test } from "vitest";

import { classify, isAnswered, type MailClass } from "./classify.ts";
import { readCorpus } from "./corpus.ts";
import { parseMail } from "./mail.ts";
import { tenantOf } from "./tenant-of.ts";

test("every third message of the corpus parses, over many tenants, and spam is told from mail", async () => {
  const tenants = new Map<string, number>();
  const classes = new Set<MailClass>();
  const groups = { ham: { all: 0, spam: 0 }, spam: { all: 0, spam: 0, answered: 0 } };
  let full = 0;
  let count = 0;
  for await (const { id, raw, tenantId } of readCorpus({ limit: 2_000 })) {
    const mail = await parseMail(raw);
    const mailClass = classify(mail);
    count += 1;
    if (mail.from.address !== "" && mail.subject !== "" && mail.text !== "") full += 1;
    tenants.set(tenantId, (tenants.get(tenantId) ?? 0) + 1);
    classes.add(mailClass);
    if (id.startsWith("easy-ham")) {
      groups.ham.all += 1;
      if (mailClass === "spam") groups.ham.spam += 1;
    } else if (id.startsWith("spam")) {
      groups.spam.all += 1;
      if (mailClass === "spam") groups.spam.spam += 1;
      if (isAnswered(mailClass)) groups.spam.answered += 1;
    }
  }
  expect(count).toBe(2_000);
  expect(full).toBeGreaterThan(1_900);
  expect(classes).toEqual(new Set(["person", "list", "bulk", "automatic", "spam"]));
  expect(groups.ham.spam / groups.ham.all).toBeLessThan(0.01);
  expect(groups.spam.spam / groups.spam.all).toBeGreaterThan(0.75);
  expect(groups.spam.answered / groups.spam.all).toBeLessThan(0.25);

  const sizes = [...tenants.values()].toSorted((a, b) => b - a);
  expect(sizes.filter((size) => size >= 5).length).toBeGreaterThanOrEqual(15);
  expect(sizes[0]).toBeLessThan(1_000);
  for (const tenant of tenants.keys()) expect(tenant).toMatch(/^[a-z0-9._-]{1,105}$/u);
});

test("it is the same walk every time, from wherever it starts", async () => {
  const ids = async (options: { offset?: number; limit: number }): Promise<string[]> =>
    (await Array.fromAsync(readCorpus(options))).map(({ id }) => id);
  const first = await ids({ limit: 20 });
  expect(new Set(first).size).toBe(20);
  expect(await ids({ offset: 15, limit: 5 })).toEqual(first.slice(15));
  expect(await ids({ offset: 6_040, limit: 100 })).toHaveLength(6);
});

test.each([
  ["List-Id: Friends of R. <fork.example.org>\nTo: a@b.example", "list-fork"],
  ["List-Id:\n  <FoRK.example.org>", "list-fork"],
  ["X-Mailing-List: <0xdeadbeef@zoo.example> archive/latest/529", "list-0xdeadbeef"],
  ["Mailing-List: contact dev-help@lists.example; run by ezmlm", "list-dev"],
  ["Sender: owner-cypherpunks@einstein.example\nTo: x@ssz.example", "list-cypherpunks"],
  ["Sender: ilug-admin@linux.example", "list-ilug"],
  ["Sender: ann@example.org\nTo: Bob <bob@mail.Example.ORG>", "example.org"],
  ["To: bob@mail.example.co.uk", "example.co.uk"],
  ["To: bob@shop.com.ph", "shop.com.ph"],
  ["To: bob@co.uk", "undisclosed"],
  ["To: undisclosed-recipients:;", "undisclosed"],
  ["", "undisclosed"],
  ["Subject: x\n\nTo: bob@in-the-body.example", "undisclosed"],
])("%j belongs to tenant %s", (header, tenant) => {
  expect(tenantOf(header)).toBe(tenant);
});

test("whatever the header says, the tenant's id is one that the ledger takes", () => {
  const name = fc.constantFrom("List-Id", "X-Mailing-List", "Sender", "To", "Cc", "Subject");
  const value = fc.oneof(fc.string({ unit: "binary" }), fc.emailAddress(), fc.domain());
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value)), (lines) => {
      const tenant = tenantOf(lines.map((line) => line.join(": <x")).join("\n"));
      expect(tenant).toMatch(/^[a-z0-9._-]+$/u);
      expect(tenant.length).toBeLessThanOrEqual(maxTenantIdLength);
    }),
  );
});
