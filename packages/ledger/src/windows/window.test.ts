import { randomUUID } from "node:crypto";

import { expect, test } from "vitest";

import { drawLifecycle, lifecycleInReadme } from "../testing/lifecycle-diagram.ts";
import { setup } from "../testing/setup.ts";
import { changesOf, watchStatuses } from "../testing/status-changes.ts";
import { windowTransitions } from "./window.ts";

test("a window is drawn in the README as its transition table says", async () => {
  const picture = drawLifecycle({
    title: "Window",
    begins: {
      DISPATCHING: "claim",
      ENQUEUED: "run started, sent while the ledger was unavailable",
      MISSED: "no tick came",
      SKIPPED_OVERLAP: "an earlier run is under way",
    },
    transitions: windowTransitions,
    labels: {
      "DISPATCHING --> DISPATCHING": "lease expired, taken over",
      "DISPATCHING --> ENQUEUED": "sent",
      "DISPATCHING --> ENQUEUE_FAILED": "send failed, or dead letter requeued",
      "DISPATCHING --> INLINE_EMERGENCY": "worked inline",
      "ENQUEUE_FAILED --> DISPATCHING": "next tick or repair",
      "ENQUEUED --> DISPATCHING": "repair, never started or silent",
      "ENQUEUED --> ENQUEUE_FAILED": "dead letter requeued",
      "MISSED --> DISPATCHING": "late tick or catch-up",
      "MISSED --> ENQUEUED": "run started after all",
    },
  });
  expect(await lifecycleInReadme("window")).toBe(picture);
});

test("whatever is done to a window in whatever status, its status changes as the table says, and in every such way", async () => {
  await using t = await setup();
  const { database, ledger } = t;
  const noted = await watchStatuses(database, [
    { table: "background_dispatch_window", id: "dispatch_key", status: "status", repeat: "fence" },
  ]);
  const windowStart = new Date(Date.now() - 3_600_000);
  const window = (dispatchKey: string) =>
    ({
      dispatchKey,
      schedule: "s",
      scope: "global",
      windowStart,
      windowSeconds: 60,
      lane: "stable",
      owner: "o",
      correlationId: "c",
    }) as const;
  const operations: readonly ((key: string, fence: string) => Promise<unknown>)[] = [
    (key) => ledger.windows.claim({ ...window(key), leaseMs: 60_000 }),
    (key) => ledger.windows.claim({ ...window(key), leaseMs: 60_000, skipOnOverlap: true }),
    (key, fence) => ledger.windows.markEnqueued(key, fence),
    (key, fence) => ledger.windows.markFailed(key, fence, "no"),
    (key, fence) => ledger.windows.markInline(key, fence),
    (key) => ledger.windows.recordMissed([window(key)]),
    (key) => ledger.windows.recordStarted(window(key)),
    async (key) => {
      const letter = { kind: "DISPATCH", sourceId: key, name: "s", reason: "stale" } as const;
      const { id } = await ledger.deadLetters.file({ ...letter, error: "no" });
      await ledger.asOperator("ada").deadLetters.requeue([{ id }]);
    },
    () =>
      ledger.reconcile({
        owner: "o",
        leaseMs: 60_000,
        neverStartedAfterMs: 0,
        maxAgeMs: 86_400_000,
        staleAfterMs: 60_000,
        limit: 1_000,
      }),
  ];
  for (const status of Object.keys(windowTransitions)) {
    for (const operate of operations) {
      const [key, fence] = [randomUUID(), randomUUID()];
      await database.pool.query(
        `INSERT INTO evenkeel.background_dispatch_window (dispatch_key, schedule, scope, window_start,
           window_seconds, status, fence, owner, correlation_id, enqueued_at, lease_expires_at)
         VALUES ($1, 's', 'global', $2, 60, $3::evenkeel.window_status, $4, 'o', 'c',
           CASE WHEN $3 = 'ENQUEUED' THEN now() - interval '1 minute' END,
           CASE WHEN $3 = 'DISPATCHING' THEN now() - interval '1 second' END)`,
        [key, windowStart, status, fence],
      );
      await operate(key, fence);
    }
  }
  const changes = (await noted()).filter(({ before }) => before !== null);
  const { rows } = await database.pool.query<{ statuses: string[] }>(
    `SELECT enum_range(NULL::evenkeel.window_status)::text[] AS statuses`,
  );
  const seen = new Set(changes.map(({ before, after }) => `${before} --> ${after}`));
  expect([...seen].toSorted()).toEqual(changesOf(windowTransitions));
  expect(rows[0]?.statuses.toSorted()).toEqual(Object.keys(windowTransitions).toSorted());
});
