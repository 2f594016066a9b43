import { expect, test } from "vitest";

import { setup, type Setup } from "../testing/setup.ts";
import type { ClaimedJob } from "./job.ts";

const job = {
  tenantId: "acme",
  type: "j",
  version: 1,
  payloadText: "{}",
  maxAttempts: 9,
} as const;

async function claim(t: Setup): Promise<ClaimedJob> {
  await t.database.pool.query(
    `UPDATE evenkeel.background_job SET lease_expires_at = now() - interval '1 second'`,
  );
  const request = { lane: "stable", types: ["j"], limit: 1, leaseMs: 30_000, owner: "o" } as const;
  // What expired is made available.
  await t.ledger.jobs.hasDue({ types: ["j"] });
  const [claimed] = (await t.ledger.jobs.claim(request)).jobs;
  if (claimed === undefined) throw new Error("There is a job to claim.");
  return claimed;
}

async function claimNew(t: Setup): Promise<ClaimedJob> {
  await t.ledger.jobs.insert(undefined, [job]);
  return claim(t);
}

test("an effect is begun once, and its result is there for the next fence", async () => {
  await using t = await setup();
  const { effects } = t.ledger.jobs;
  const first = await claimNew(t);
  const begun = await effects.begin(first, "charge", true);
  expect(begun).toMatchObject({ outcome: "begun", isRepeat: false });
  expect(await effects.finish(first, "charge", { b: 1, a: null })).toEqual({
    result: `{"a": null, "b": 1}`,
  });
  const second = await claim(t);
  const recorded = { outcome: "done", result: `{"a": null, "b": 1}` };
  expect(await effects.begin(second, "charge", true)).toEqual(recorded);
  expect(await effects.begin(second, "charge", false)).toEqual(recorded);
  expect(await t.ledger.forTenant("acme").effects.list(first.id)).toMatchObject([
    { name: "charge", state: "DONE", tries: 1, result: { a: null, b: 1 } },
  ]);
});

test("null, nothing and what cannot be kept are told apart only as far as a result can be", async () => {
  await using t = await setup();
  const { effects } = t.ledger.jobs;
  const claimed = await claimNew(t);
  const results: Record<string, unknown> = {
    nothing: undefined,
    null: null,
    long: "x".repeat(65_537),
    nul: "\u0000",
    number: 1n,
    text: "é",
  };
  const kept: Record<string, unknown> = {};
  for (const [name, result] of Object.entries(results)) {
    await effects.begin(claimed, name, true);
    kept[name] = (await effects.finish(claimed, name, result))?.result;
  }
  expect(kept).toEqual({
    nothing: undefined,
    null: "null",
    long: undefined,
    nul: `"\ufffd"`,
    number: undefined,
    text: `"é"`,
  });
});

test("an effect in doubt keeps its key over all its tries, or is left as it is", async () => {
  await using t = await setup();
  const { effects } = t.ledger.jobs;
  const first = await effects.begin(await claimNew(t), "charge", true);
  const second = await claim(t);
  expect(await effects.begin(second, "charge", false)).toEqual({ outcome: "in_doubt" });
  expect(await effects.begin(second, "charge", true)).toEqual({ ...first, isRepeat: true });
  expect(await t.ledger.asOperator("ada").effects.list(second.id)).toMatchObject([
    { state: "STARTED", tries: 2, finishedAt: null },
  ]);
});

test("whoever lost the job writes nothing, at whatever moment", async () => {
  await using t = await setup();
  const { effects } = t.ledger.jobs;
  const zombie = await claimNew(t);
  await effects.begin(zombie, "charge", true);
  const owner = await claim(t);
  expect(await effects.finish(zombie, "charge", "z")).toBeUndefined();
  expect(await effects.forget(zombie, "charge")).toBe(false);
  expect(await effects.begin(zombie, "other", true)).toEqual({ outcome: "refused" });
  // Not even of what the new owner began under the same name.
  await effects.begin(owner, "charge", true);
  expect(await effects.finish(zombie, "charge", "z")).toBeUndefined();
  expect(await effects.finish(owner, "charge", "o")).toEqual({ result: `"o"` });
  await t.ledger.jobs.settle([
    { id: owner.id, fence: owner.fence, kind: "retry", delayMs: 0, error },
  ]);
  expect(await effects.begin(owner, "late", true)).toEqual({ outcome: "refused" });
  expect(await t.ledger.asOperator("ada").effects.list(owner.id)).toMatchObject([
    { name: "charge", result: "o" },
  ]);
});

const error = { code: "e", message: "m" };

test("recording an end twice under one fence keeps the last; what did not happen is forgotten", async () => {
  await using t = await setup();
  const { effects } = t.ledger.jobs;
  const claimed = await claimNew(t);
  const first = await effects.begin(claimed, "charge", true);
  expect(await effects.forget(claimed, "charge")).toBe(true);
  const second = await effects.begin(claimed, "charge", false);
  expect(second).toMatchObject({ outcome: "begun", isRepeat: false });
  expect(second).not.toEqual(first);
  await effects.finish(claimed, "charge", 1);
  expect(await effects.finish(claimed, "charge", 1)).toEqual({ result: "1" });
  expect(await effects.forget(claimed, "charge")).toBe(false);
});

test("an operator decides what is in doubt, on record, and never about a job that runs", async () => {
  await using t = await setup();
  const { effects } = t.ledger.jobs;
  const operator = t.ledger.asOperator("ada");
  const claimed = await claimNew(t);
  const { id, fence } = claimed;
  for (const name of ["sent", "unsent"]) await effects.begin(claimed, name, true);
  expect(await operator.effects.resolve(id, "sent", { happened: true })).toBe(false);
  await t.ledger.jobs.settle([{ id, fence, kind: "dead", reason: "in_doubt", error }]);
  expect(await operator.effects.resolve(id, "none", { happened: true })).toBe(false);
  expect(await operator.effects.resolve("no id", "sent", { happened: true })).toBe(false);
  const long = operator.effects.resolve(id, "sent", { happened: true, result: "x".repeat(70_000) });
  await expect(long).rejects.toMatchObject({ code: "invalid_result" });
  const sent = { happened: true, result: { receipt: 7 }, reason: "on the invoice" } as const;
  expect(await operator.effects.resolve(id, "sent", sent)).toBe(true);
  expect(await operator.effects.resolve(id, "sent", { happened: false })).toBe(false);
  expect(await operator.effects.resolve(id, "unsent", { happened: false })).toBe(true);
  expect(await operator.effects.list(id)).toMatchObject([
    { name: "sent", state: "DONE", result: { receipt: 7 } },
  ]);
  expect(await operator.audit({ action: "effect.resolve" })).toMatchObject([
    { actor: "ada", subjectId: id, tenantId: "acme", after: { effect: "unsent", happened: false } },
    { before: { effect: "sent", state: "STARTED" }, reason: "on the invoice" },
  ]);
});

test("what a dead job did goes with the job that an operator requeues", async () => {
  await using t = await setup();
  const { effects } = t.ledger.jobs;
  const operator = t.ledger.asOperator("ada");
  const claimed = await claimNew(t);
  const { id, fence } = claimed;
  await effects.begin(claimed, "done", true);
  await effects.finish(claimed, "done", 1);
  const begun = await effects.begin(claimed, "begun", true);
  await t.ledger.jobs.settle([{ id, fence, kind: "dead", reason: "exhausted", error }]);
  const [letter] = await operator.deadLetters.list();
  const again = { payload: "{}", version: 1, maxAttempts: 9 };
  await operator.deadLetters.requeue([{ id: letter?.id ?? "", job: again }]);
  const successor = await claim(t);
  expect(successor.id).not.toBe(id);
  expect(await effects.begin(successor, "done", true)).toEqual({ outcome: "done", result: "1" });
  expect(await effects.begin(successor, "begun", true)).toEqual({ ...begun, isRepeat: true });
  expect(await operator.effects.list(id)).toEqual([]);
});
