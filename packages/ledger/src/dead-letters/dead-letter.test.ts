import { randomUUID } from "node:crypto";

import { expect, test } from "vitest";

import { drawLifecycle, lifecycleInReadme } from "../testing/lifecycle-diagram.ts";
import { setup } from "../testing/setup.ts";
import { changesOf, watchStatuses } from "../testing/status-changes.ts";
import { deadLetterTransitions } from "./dead-letter.ts";

test("a dead letter is drawn in the README as its transition table says", async () => {
  const picture = drawLifecycle({
    title: "Dead letter",
    begins: { OPEN: "work failed for good" },
    transitions: deadLetterTransitions,
    labels: {
      "OPEN --> REQUEUED": "an operator requeues its work",
      "OPEN --> DISCARDED": "an operator closes it",
    },
  });
  expect(await lifecycleInReadme("dead-letter")).toBe(picture);
});

test("whatever is done to a dead letter in whatever status, its status changes as the table says, and in every such way", async () => {
  await using t = await setup();
  const { database, ledger } = t;
  const noted = await watchStatuses(database, [
    { table: "background_dead_letter", id: "id", status: "status" },
  ]);
  const operator = ledger.asOperator("ada").deadLetters;
  const payload = { id: "e", name: "order/placed", data: {} };
  const operations: readonly ((id: string) => Promise<unknown>)[] = [
    (id) => operator.requeue([{ id }]),
    (id) => operator.discard({ ids: [id] }, { reason: "done" }),
    (sourceId) =>
      ledger.deadLetters.file({
        kind: "RUN",
        sourceId,
        name: "f",
        reason: "exhausted",
        error: "again",
        payload,
      }),
  ];
  for (const status of Object.keys(deadLetterTransitions)) {
    for (const operate of operations) {
      const id = randomUUID();
      await database.pool.query(
        `INSERT INTO evenkeel.background_dead_letter (id, kind, source_id, name, reason, error, payload, status, resolved_at)
         VALUES ($1::uuid, 'RUN', $1::text, 'f', 'exhausted', 'no', $2::jsonb, $3::evenkeel.dead_letter_status,
           CASE WHEN $3 <> 'OPEN' THEN now() END)`,
        [id, JSON.stringify(payload), status],
      );
      await operate(id);
    }
  }
  const changes = (await noted()).filter(({ before }) => before !== null);
  const { rows } = await database.pool.query<{ statuses: string[] }>(
    `SELECT enum_range(NULL::evenkeel.dead_letter_status)::text[] AS statuses`,
  );
  const seen = new Set(changes.map(({ before, after }) => `${before} --> ${after}`));
  expect([...seen].toSorted()).toEqual(changesOf(deadLetterTransitions));
  expect(rows[0]?.statuses.toSorted()).toEqual(Object.keys(deadLetterTransitions).toSorted());
});
