import { silentLogger } from "@evenkeel/core";
import { createTestDatabase } from "@evenkeel/test-postgres/testing";
import { expect, test } from "vitest";

import { createLedger } from "../ledger.ts";
import { insertGuard, insertHistory, insertNewest, insertWindow } from "../testing/old-rows.ts";
import { createPruner } from "./pruner.ts";

test("a run deletes batch after batch up to its bound, and says what it deleted", async () => {
  const database = await createTestDatabase();
  const ledger = createLedger({ pool: database.pool });
  const logged: unknown[] = [];
  const logger = {
    ...silentLogger,
    info: (event: string, fields?: unknown) => void logged.push({ event, fields }),
  };
  const pruner = createPruner({ ledger, limit: 10, maxBatches: 3, logger });
  for (let n = 0; n < 45; n += 1) await insertHistory(database.pool, "SUCCEEDED", 31);
  const dispatchKey = await insertWindow(database.pool, "ENQUEUED", 31);
  await insertNewest(database.pool, `s-${dispatchKey}`);
  await insertGuard(database.pool, 31, { dispatchKey });

  expect(await pruner.run()).toEqual({ pruned: 32, moreToPrune: true });
  expect(await pruner.run()).toEqual({ pruned: 15, moreToPrune: false });
  expect(await pruner.run()).toEqual({ pruned: 0, moreToPrune: false });
  const first = { "jobHistory.SUCCEEDED": 30, "windows.ENQUEUED": 1, "guards.TAKEN": 1 };
  expect(logged).toEqual([
    { event: "ledger.pruned", fields: { pruned: 32, moreToPrune: true, rows: first } },
    {
      event: "ledger.pruned",
      fields: { pruned: 15, moreToPrune: false, rows: { "jobHistory.SUCCEEDED": 15 } },
    },
  ]);
  await ledger.close();
  await database.drop();
});

test("a wrong policy is refused when the host starts", () => {
  const ledger = { prune: () => Promise.reject(new Error("not to be called")) };
  expect(() => createPruner({ ledger, policy: { guards: { TAKEN: 1 } } })).toThrow(
    expect.objectContaining({ code: "invalid_retention" }),
  );
});
