import { createLedger, type Ledger } from "@evenkeel/ledger";
import { startSilentProxy, type SilentProxy } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { handleJob } from "../definition/job-handler.ts";
import { countJob } from "../testing/count-job.ts";
import { enqueueCounts, setup, type Setup } from "../testing/setup.ts";
import { createRunner } from "./runner.ts";

let t: Setup;
let proxy: SilentProxy;
let hostPool: ReturnType<SilentProxy["connect"]>;
beforeEach(async () => {
  t = await setup();
  proxy = await startSilentProxy(t.database.databaseUrl);
  hostPool = proxy.connect();
});
afterEach(async () => {
  await proxy.close();
  await t.close();
});

const leaseMs = 3_000;
const patience = { connectionTimeoutMs: 1_000, statementTimeoutMs: 2_000 };
const hosts: readonly (readonly [string, "new" | "all", () => Ledger])[] = [
  [
    "a pool of its own, over new connections",
    "new",
    () => createLedger({ ...patience, databaseUrl: proxy.url }),
  ],
  [
    "a pool of its own, when the network is back",
    "all",
    () => createLedger({ ...patience, databaseUrl: proxy.url }),
  ],
  [
    "the product's pool, over new connections",
    "new",
    () => createLedger({ ...patience, pool: hostPool }),
  ],
  [
    "the product's pool, when the network is back",
    "all",
    () => createLedger({ ...patience, pool: hostPool }),
  ],
];

test.each(hosts)(
  "a host that a silent network cuts off loses its jobs to another and recovers: %s",
  async (_, restored, open) => {
    const ledger = open();
    const stop = new AbortController();
    const begun = Promise.withResolvers<void>();
    const cut: { started: number; lost: number } = { started: 0, lost: 0 };
    const recovered = Promise.withResolvers<void>();
    const again = new Set<number>();
    const slow = handleJob(countJob, async ({ payload, signal }) => {
      if (payload.n >= 10) {
        again.add(payload.n);
        if (again.size === 3) recovered.resolve();
        return;
      }
      cut.started += 1;
      if (cut.started === 3) begun.resolve();
      await new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => {
          cut.lost += 1;
          resolve();
        });
      });
    });
    await enqueueCounts(t, 3);
    const drained = createRunner({ ledger, handlers: [slow], owner: "cut-off", leaseMs }).drain({
      budgetMs: 600_000,
      idleTimeoutMs: 600_000,
      stopSignal: stop.signal,
    });
    await begun.promise;
    proxy.fallSilent();

    // Another host, which the network does not fail.
    const ran: number[] = [];
    const quick = handleJob(countJob, async ({ payload }) => void ran.push(payload.n));
    const other = createRunner({ ledger: t.ledger, handlers: [quick], owner: "other" });
    while (ran.length < 3) await other.drain({ budgetMs: 1_000, idleTimeoutMs: 1_000 });
    expect(ran.toSorted((a, b) => a - b)).toEqual([0, 1, 2]);

    await t.ledger.jobs.insert(
      undefined,
      [10, 11, 12].map((n) => {
        const { type, version } = countJob;
        const payloadText = JSON.stringify({ n });
        return { tenantId: "t", type, version, payloadText, lane: "stable", maxAttempts: 9 };
      }),
    );
    if (restored === "new") proxy.restoreNew();
    else proxy.restore();
    await recovered.promise;
    stop.abort();
    const report = await drained;
    expect(cut.lost).toBe(cut.started);
    expect(report.lost).toBeGreaterThanOrEqual(3);
    await ledger.close();
  },
);
