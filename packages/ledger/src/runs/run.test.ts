import { randomUUID } from "node:crypto";

import { expect, test } from "vitest";

import { drawLifecycle, lifecycleInReadme } from "../testing/lifecycle-diagram.ts";
import { setup } from "../testing/setup.ts";
import { changesOf, watchStatuses } from "../testing/status-changes.ts";
import { runTransitions, type RunIdentity } from "./run.ts";

test("a run is drawn in the README as its transition table says", async () => {
  const picture = drawLifecycle({
    title: "Run",
    begins: { RUNNING: "begin" },
    transitions: runTransitions,
    labels: {
      "RUNNING --> RUNNING": "another worker, new fence",
      "RUNNING --> FAILED": "dead letter",
      "RUNNING --> CANCELLED": "dead letter",
      "RUNNING --> STALE": "silent",
      "RUNNING --> SKIPPED_DUPLICATE": "the guard is held",
      "STALE --> RUNNING": "comes back, new fence",
      "STALE --> SKIPPED_DUPLICATE": "comes back, and was replaced",
    },
  });
  expect(await lifecycleInReadme("run")).toBe(picture);
});

test("whatever is done to a run in whatever status, its status changes as the table says, and in every such way", async () => {
  await using t = await setup();
  const { database, ledger } = t;
  const noted = await watchStatuses(database, [
    { table: "background_function_run", id: "run_id", status: "status", repeat: "fence" },
  ]);
  const { runs, guards, deadLetters } = ledger;
  const endings = ["SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED_DUPLICATE"] as const;
  const window = { dispatchKey: "k", eventName: "background/process.requested" } as const;
  const operations: readonly ((run: RunIdentity, fence: string) => Promise<unknown>)[] = [
    (run) => runs.begin({ ...run, ...window, owner: "o", attempt: 0 }),
    (run) => runs.begin({ ...run, ...window, owner: "another", attempt: 1 }),
    (run) => runs.finishAttempt({ ...run, attempt: 0 }),
    (run, fence) => runs.heartbeat({ ...run, fence }),
    (run) => guards.take({ ...run, dispatchKey: run.runId, continuation: 0 }),
    ...endings.flatMap((status) => [
      (run: RunIdentity) => runs.finish({ ...run, status }),
      (run: RunIdentity, fence: string) => runs.finish({ ...run, status, fence }),
    ]),
    async ({ runId, functionId }) => {
      const payload = { id: "e", name: "order/placed", data: {} };
      const letter = { kind: "RUN", sourceId: runId, name: functionId, payload } as const;
      const { id } = await deadLetters.file({ ...letter, reason: "exhausted", error: "no" });
      await ledger.asOperator("ada").deadLetters.requeue([{ id }]);
    },
    () => runs.markStale({ silentMs: 1, limit: 1_000 }),
  ];
  for (const status of Object.keys(runTransitions)) {
    for (const operate of operations) {
      const [runId, fence] = [randomUUID(), randomUUID()];
      await database.pool.query(
        `INSERT INTO evenkeel.background_function_run
           (run_id, function_id, event_name, status, fence, owner, heartbeat_at, finished_at)
         VALUES ($1, 'f', 'e', $2::evenkeel.run_status, $3, 'o', now() - interval '1 minute',
           CASE WHEN $2 NOT IN ('RUNNING', 'STALE') THEN now() END)`,
        [runId, status, fence],
      );
      await operate({ runId, functionId: "f" }, fence);
    }
  }
  const changes = (await noted()).filter(({ before }) => before !== null);
  const { rows } = await database.pool.query<{ statuses: string[] }>(
    `SELECT enum_range(NULL::evenkeel.run_status)::text[] AS statuses`,
  );
  const seen = new Set(changes.map(({ before, after }) => `${before} --> ${after}`));
  expect([...seen].toSorted()).toEqual(changesOf(runTransitions));
  expect(rows[0]?.statuses.toSorted()).toEqual(Object.keys(runTransitions).toSorted());
});
