import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import { setup, type Setup } from "../testing/setup.ts";
import { effectTransitions, type EffectState } from "./effects.ts";
import type { ClaimedJob } from "./job.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

/** What is asked, by the claim that is so many claims old. */
const step = fc.record({
  ask: fc.constantFrom("claim", "retry", "park", "finish", "forget"),
  age: fc.nat({ max: 2 }),
});
type Ask = "claim" | "retry" | "park" | "finish" | "forget";

/** The record, as it should be. */
interface Model {
  state: EffectState | undefined;
  /** The claim that began it last. */
  by: number;
  result: string | undefined;
}

/** What the store should return to the claim at a place, and what becomes of the record. */
function foresee(model: Model, ask: Ask, place: number, isHeld: boolean, at: number): unknown {
  const { state, by } = model;
  const isOwn = isHeld && by === place && state !== undefined;
  if (ask === "claim") return "claimed";
  if (ask === "finish") {
    if (!isOwn) return undefined;
    Object.assign(model, { state: "DONE", result: String(at) });
    return { result: String(at) };
  }
  if (ask === "forget") {
    const isGone = isOwn && state === "STARTED";
    if (isGone) model.state = undefined;
    return isGone;
  }
  if (!isHeld) return { outcome: "refused" };
  if (state === "DONE") return { outcome: "done", result: model.result };
  if (state === "STARTED" && ask === "park") return { outcome: "in_doubt" };
  Object.assign(model, { state: "STARTED", by: place });
  const isRepeat = state === "STARTED";
  return { outcome: "begun", isRepeat, isSameKey: isRepeat };
}

test("whatever claims do in whatever order, the record is what the last holder made of it", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
      const [job] = await t.ledger.jobs.insert(undefined, [
        {
          tenantId: "t",
          type: "j",
          version: 1,
          payloadText: "{}",
          maxAttempts: 99,
        },
      ]);
      const id = job?.id ?? "";
      const claims: ClaimedJob[] = [await claimAgain(id)];
      const model: Model = { state: undefined, by: -1, result: undefined };
      let lastKey = "";
      const ask = async (asked: Ask, claim: ClaimedJob, at: number): Promise<unknown> => {
        const { effects } = t.ledger.jobs;
        if (asked === "claim") {
          claims.push(await claimAgain(id));
          return "claimed";
        }
        if (asked === "finish") return effects.finish(claim, "e", at);
        if (asked === "forget") return effects.forget(claim, "e");
        const begun = await effects.begin(claim, "e", asked === "retry");
        if (begun.outcome !== "begun") return begun;
        const { idempotencyKey, ...rest } = begun;
        const isSameKey = idempotencyKey === lastKey;
        lastKey = idempotencyKey;
        return { ...rest, isSameKey };
      };
      for (const [at, { ask: asked, age }] of steps.entries()) {
        const newest = claims.length - 1;
        const place = Math.max(0, newest - age);
        const before = model.state;
        const expected = foresee(model, asked, place, place === newest, at);
        const claim = claims[place];
        expect(claim && (await ask(asked, claim, at))).toEqual(expected);
        const [record] = await t.ledger.forTenant("t").effects.list(id);
        expect(record?.state).toBe(model.state);
        const after = record?.state ?? before;
        expect(before && after !== before ? effectTransitions[before] : [after]).toContain(after);
      }
      const fence = claims.at(-1)?.fence ?? "";
      await t.ledger.jobs.settle([{ id, fence, kind: "succeeded" }]);
    }),
    { numRuns: 60 },
  );
});

async function claimAgain(id: string): Promise<ClaimedJob> {
  await t.database.pool.query(
    `UPDATE evenkeel.background_job SET lease_expires_at = now() - interval '1 second'`,
  );
  // What expired is made available.
  await t.ledger.jobs.hasDue({ types: ["j"] });
  const { jobs } = await t.ledger.jobs.claim({
    lane: "stable",
    types: ["j"],
    limit: 1,
    leaseMs: 30_000,
    owner: "o",
  });
  const claimed = jobs.find((job) => job.id === id);
  if (claimed === undefined) throw new Error("The job is there to be claimed.");
  return claimed;
}
