import type { Pool } from "pg";

import { kinds } from "./jobs.ts";
import type { Recorder } from "./recorder.ts";
import { checkStarts } from "./start-checks.ts";
import type { StartNotes } from "./start-notes.ts";

/** What the run came to. */
export interface Conclusion {
  /** By what each claims. */
  readonly checks: Readonly<Record<string, boolean>>;
  readonly figures: Readonly<Record<string, unknown>>;
}

const figuresStatement = `
SELECT
  (SELECT count(*) FROM "evenkeel"."background_job")::int AS "unsettled",
  (SELECT count(*) FROM "evenkeel"."background_job_history" WHERE "outcome" = 'SUCCEEDED')::int AS "succeeded",
  (SELECT count(*) FROM "evenkeel"."background_job_history" WHERE "outcome" = 'DEAD')::int AS "dead",
  (SELECT count(*) FROM "evenkeel"."background_dead_letter" WHERE "reason" = 'in_doubt' AND "name" = 'kill.park')::int
    AS "inDoubt",
  (SELECT count(*) FROM "evenkeel"."background_dead_letter" WHERE "reason" = 'exhausted' AND "name" = 'kill.single')::int
    AS "exhausted",
  (SELECT count(*) FROM "evenkeel"."background_dead_letter" WHERE "reason" = 'poison')::int AS "poison",
  (SELECT count(*) FROM "kill_run"."claim")::int AS "claims",
  (SELECT count(*) FROM "kill_run"."claim" AS "c" WHERE EXISTS (
    SELECT FROM "kill_run"."claim" AS "b" WHERE "b"."job" = "c"."job" AND "b"."fence" = "c"."fence" - 1
  ) AND NOT EXISTS (
    SELECT FROM "kill_run"."settlement" AS "s" WHERE "s"."job" = "c"."job" AND "s"."fence" = "c"."fence" - 1
  ))::int AS "takenOver"`;

// Every one of these must be 0.
const breachesStatement = `
WITH "last" AS (
  SELECT DISTINCT ON ("job") * FROM "kill_run"."claim" ORDER BY "job", "fence" DESC
), "ended" AS (
  SELECT "id", "type", "outcome" FROM "evenkeel"."background_job_history"
), "done" AS (
  SELECT "job", count(*) AS "rows", max("fence") AS "fence", max("writer") AS "writer"
  FROM "kill_run"."completed" GROUP BY "job"
)
SELECT
  (SELECT count(*) FROM "ended" WHERE "type" = 'kill.plain' AND NOT EXISTS (
    SELECT FROM "kill_run"."plain" JOIN "last" USING ("job", "fence") WHERE "plain"."job" = "ended"."id"
  ))::int AS "plainWithoutEffect",
  (SELECT count(*) FROM "evenkeel"."background_job_history" WHERE "errors" @> '[{"code":"23505"}]')::int
    AS "effectsTwicePerFence",
  (SELECT count(*) FROM "ended" LEFT JOIN "done" ON "done"."job" = "ended"."id"
    WHERE "type" = 'kill.transaction' AND "rows" IS DISTINCT FROM 1)::int AS "notExactlyOnce",
  (SELECT count(*) FROM "done" LEFT JOIN "last" USING ("job", "fence")
    WHERE "last"."owner" IS DISTINCT FROM "done"."writer")::int AS "completedByAnother",
  (SELECT count(*) FROM "kill_run"."settlement" WHERE "writer" <> "holder")::int AS "settledByAnother",
  (SELECT count(*) FROM (
    SELECT FROM "kill_run"."settlement" GROUP BY "job", "fence" HAVING count(*) > 1
  ) AS "twice")::int AS "settledTwice",
  (SELECT count(*) FROM "kill_run"."effect_write" AS "w"
    LEFT JOIN "kill_run"."claim" AS "c" ON "c"."job" = "w"."job" AND "c"."fence" = "w"."fence"
    WHERE "c"."owner" IS DISTINCT FROM "w"."writer" OR EXISTS (
      SELECT FROM "kill_run"."claim" AS "next"
      WHERE "next"."job" = "w"."job" AND "next"."fence" > "w"."fence" AND "next"."at" <= "w"."at"
    ))::int AS "recordedByAnother"`;

const recoveryStatement = `
SELECT count(*)::int AS "jobs", count(DISTINCT "label")::int AS "workers",
  (count(*) FILTER (WHERE "ms" IS NULL))::int AS "never",
  round(coalesce(max("ms"), 0))::int AS "maxMs",
  round(coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY "ms"), 0))::int AS "p95Ms",
  round(coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY "ms"), 0))::int AS "p50Ms"
FROM (
  SELECT "h"."label", extract(epoch FROM (
    SELECT min("c"."at") FROM "kill_run"."claim" AS "c" WHERE "c"."job" = "h"."job" AND "c"."fence" > "h"."fence"
  ) - "h"."at") * 1000 AS "ms"
  FROM "kill_run"."held" AS "h"
  WHERE "h"."label" NOT IN (SELECT "label" FROM "kill_run"."stop") AND NOT EXISTS (
    -- Its worker had sent that before it died.
    SELECT FROM "kill_run"."settlement" AS "s" WHERE "s"."job" = "h"."job" AND "s"."fence" = "h"."fence"
  )
) AS "recovered"`;

// What a stopped worker held, and what of it others had when it went on; "metAtWork": and had not yet settled.
const stopStatement = `
SELECT count(DISTINCT "h"."label")::int AS "stops", count(*)::int AS "held", count("next"."at")::int AS "takenOver",
  (count(*) FILTER (WHERE "next"."at" IS NOT NULL AND NOT EXISTS (
    SELECT FROM "kill_run"."settlement" AS "s"
    WHERE "s"."job" = "h"."job" AND "s"."fence" > "h"."fence" AND "s"."at" < "stop"."ended_at"
  )))::int AS "metAtWork",
  coalesce(sum("writes"."count"), 0)::int AS "writtenAfterwards"
FROM "kill_run"."held" AS "h" JOIN "kill_run"."stop" USING ("label")
LEFT JOIN LATERAL (
  SELECT min("at") AS "at" FROM "kill_run"."claim" AS "c"
  WHERE "c"."job" = "h"."job" AND "c"."fence" > "h"."fence" AND "c"."at" < "stop"."ended_at"
) AS "next" ON true
LEFT JOIN LATERAL (
  SELECT (SELECT count(*) FROM "kill_run"."settlement" AS "s"
      WHERE "s"."job" = "h"."job" AND "s"."fence" = "h"."fence")
    + (SELECT count(*) FROM "kill_run"."effect_write" AS "e"
      WHERE "e"."job" = "h"."job" AND "e"."fence" = "h"."fence" AND "e"."at" > "next"."at")
    + (SELECT count(*) FROM "kill_run"."completed" AS "d"
      WHERE "d"."job" = "h"."job" AND "d"."fence" = "h"."fence") AS "count"
) AS "writes" ON "next"."at" IS NOT NULL`;

interface Numbers {
  readonly [name: string]: number;
}

async function readNumbers(pool: Pool, statement: string): Promise<Numbers> {
  const { rows } = await pool.query<Numbers>(statement);
  const [row] = rows;
  if (row === undefined) throw new Error("A count came back without a row.");
  return row;
}

/** Looks at what is left, once all is done. */
export async function conclude({
  pool,
  recorder,
  starts,
  jobsPerKind,
  recoveryWithinMs,
}: {
  readonly pool: Pool;
  readonly recorder: Recorder;
  readonly starts: StartNotes;
  /** How many of each kind were enqueued. */
  readonly jobsPerKind: number;
  readonly recoveryWithinMs: number;
}): Promise<Conclusion> {
  const counts = await readNumbers(pool, figuresStatement);
  const breaches = await readNumbers(pool, breachesStatement);
  const recovery = await readNumbers(pool, recoveryStatement);
  const stopped = await readNumbers(pool, stopStatement);
  const outside = countCalls(recorder);
  const { rows } = await pool.query<{ id: string }>(
    `SELECT "id"::text FROM "evenkeel"."background_job_history"
     WHERE "type" = 'kill.park' AND "outcome" = 'SUCCEEDED'`,
  );
  const uncalled = rows.filter(({ id }) => recorder.calls.park.get(id)?.count !== 1).length;
  const total = jobsPerKind * kinds.length;
  const isZero = (name: string): boolean => breaches[name] === 0;
  const { succeeded = 0, dead = 0, unsettled, poison, inDoubt = 0, exhausted = 0 } = counts;
  const started = await checkStarts(pool, starts);
  return {
    checks: {
      "every job has ended, once":
        unsettled === 0 && succeeded + dead === total && isZero("settledTwice"),
      "nothing died but what was parked in doubt, and single attempts":
        dead === inDoubt + exhausted && poison === 0,
      ...started.checks,
      "plain: each has its effect under the last fence": isZero("plainWithoutEffect"),
      "plain: none has two under one fence": isZero("effectsTwicePerFence"),
      "completeIn: each has exactly one effect, by its last holder":
        isZero("notExactlyOnce") && isZero("completedByAnother"),
      "once, retry: all calls of a job carry one key, and each key is one effect":
        outside.retry.jobs === jobsPerKind &&
        outside.retry.manyKeys === 0 &&
        outside.sharedKeys === 0,
      "once, park: one call at most per job": outside.park.most <= 1,
      "once, park: a job that succeeded was called once": uncalled === 0,
      "no settlement and no record by anyone but the holder":
        isZero("settledByAnother") && isZero("recordedByAnother"),
      "stopped workers that go on write nothing about what was taken over":
        (stopped["metAtWork"] ?? 0) > 0 && stopped["writtenAfterwards"] === 0,
      [`work of a killed worker is claimed again within ${recoveryWithinMs} ms`]:
        (recovery["jobs"] ?? 0) > 0 &&
        recovery["never"] === 0 &&
        (recovery["maxMs"] ?? Infinity) <= recoveryWithinMs,
    },
    figures: { ...counts, breaches, recovery, stopped, calls: outside, ...started.figures },
  };
}

interface CallCounts {
  readonly jobs: number;
  readonly calls: number;
  /** The most calls of one job. */
  readonly most: number;
  /** Jobs whose calls carry more than one key. */
  readonly manyKeys: number;
}

function countCalls({ calls, effects }: Recorder): {
  readonly retry: CallCounts;
  readonly park: CallCounts;
  readonly sharedKeys: number;
} {
  const count = (kind: "retry" | "park"): CallCounts => {
    const all = [...calls[kind].values()];
    return {
      jobs: all.length,
      calls: all.reduce((sum, call) => sum + call.count, 0),
      most: all.reduce((most, call) => Math.max(most, call.count), 0),
      manyKeys: all.filter(({ keys }) => keys.size !== 1).length,
    };
  };
  const [retry, park] = [count("retry"), count("park")];
  return { retry, park, sharedKeys: retry.jobs + park.jobs - effects.size };
}
