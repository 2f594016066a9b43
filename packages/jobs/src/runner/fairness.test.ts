import { randomUUID } from "node:crypto";

import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import { setup, type Setup } from "../testing/setup.ts";

type JobStore = Setup["ledger"]["jobs"];
type Claimed = Awaited<ReturnType<JobStore["claim"]>>;

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

async function insert(type: string, tenantId: string, count: number): Promise<void> {
  const job = { version: 1, payloadText: "{}", maxAttempts: 3 } as const;
  const jobs = Array.from({ length: count }, (_, n) => {
    return { ...job, tenantId, type, priority: (n % 3) - 1 };
  });
  await t.ledger.jobs.insert(undefined, jobs);
}

async function claim(
  types: readonly string[],
  limit: number,
  change: { readonly afterTenant?: string } = {},
): Promise<Claimed> {
  const request = { lane: "stable", leaseMs: 30_000, owner: "o" } as const;
  return t.ledger.jobs.claim({ ...request, types, limit, ...change });
}

test("any backlog: every claim is full, takes no job twice, and serves every tenant in turn", async () => {
  const backlog = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(
      backlog,
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 3 }),
      fc.boolean(),
      async (counts, limit, typeCount, isShared) => {
        const types = Array.from({ length: typeCount }, () => randomUUID());
        for (const [tenant, count] of counts.entries()) {
          const type = types[tenant % typeCount] ?? "";
          await insert(type, `t${tenant}`, count);
          if (typeCount > 1) await insert(types[0] ?? "", `t${tenant}`, 1);
        }
        let left = counts.reduce((sum, count) => sum + count + (typeCount > 1 ? 1 : 0), 0);
        const ids = new Set<string>();
        const served = new Set<string>();
        let afterTenant: string | undefined;
        for (let turn = 1; left > 0; turn += 1) {
          // Short-lived runners share one rotation; a long-lived one has its own.
          const change = isShared || afterTenant === undefined ? {} : { afterTenant };
          const result = await claim(types, limit, change);
          expect(result.jobs).toHaveLength(Math.min(limit, left));
          left -= result.jobs.length;
          for (const { id } of result.jobs) ids.add(id);
          for (const tenant of result.jobs.map(({ tenantId }) => tenantId)) served.add(tenant);
          afterTenant = result.lastTenant;
          const isRoundOver = turn >= Math.ceil(counts.length / limit);
          expect(served.size).toBeGreaterThanOrEqual(isRoundOver ? counts.length : 1);
        }
        expect(ids.size).toBe(counts.reduce((sum, n) => sum + n + (typeCount > 1 ? 1 : 0), 0));
        expect((await claim(types, limit)).jobs).toEqual([]);
      },
    ),
    { numRuns: 25 },
  );
});
