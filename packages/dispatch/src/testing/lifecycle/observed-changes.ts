import {
  deadLetterTransitions,
  jobTransitions,
  runTransitions,
  windowTransitions,
} from "@evenkeel/ledger";
import type { TestDatabase } from "@evenkeel/test-postgres/testing";
import { expect } from "vitest";

type Pool = TestDatabase["pool"];

/** Each lifecycle's transition table. */
const tables = {
  window: windowTransitions,
  run: runTransitions,
  letter: deadLetterTransitions,
  job: jobTransitions,
} as const;

/** A change of status of one row. `null`: the row left the queue, or came into its history. */
interface NotedChange {
  readonly lifecycle: keyof typeof tables;
  readonly id: string;
  readonly before: string | null;
  readonly after: string | null;
}

// A new fence is a change as well: it is how a status follows itself. But a job that waits may get one where it stands.
const watchStatements = `
CREATE SCHEMA lifecycle;
CREATE TABLE lifecycle.change (place bigserial, lifecycle text, id text, before text, after text);
CREATE FUNCTION lifecycle.note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before jsonb := to_jsonb(OLD);
  after jsonb := to_jsonb(NEW);
BEGIN
  IF TG_OP <> 'UPDATE' OR before -> TG_ARGV[2] <> after -> TG_ARGV[2]
    OR before -> 'fence' <> after -> 'fence' AND after ->> TG_ARGV[2] NOT IN ('SCHEDULED', 'PENDING') THEN
    INSERT INTO lifecycle.change (lifecycle, id, before, after)
    VALUES (TG_ARGV[0], coalesce(after, before) ->> TG_ARGV[1], before ->> TG_ARGV[2], after ->> TG_ARGV[2]);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER note AFTER UPDATE ON evenkeel.background_dispatch_window
  FOR EACH ROW EXECUTE FUNCTION lifecycle.note('window', 'dispatch_key', 'status');
CREATE TRIGGER note AFTER UPDATE ON evenkeel.background_function_run
  FOR EACH ROW EXECUTE FUNCTION lifecycle.note('run', 'run_id', 'status');
CREATE TRIGGER note AFTER UPDATE ON evenkeel.background_dead_letter
  FOR EACH ROW EXECUTE FUNCTION lifecycle.note('letter', 'id', 'status');
CREATE TRIGGER note AFTER UPDATE OR DELETE ON evenkeel.background_job
  FOR EACH ROW EXECUTE FUNCTION lifecycle.note('job', 'id', 'state');
CREATE TRIGGER note AFTER INSERT ON evenkeel.background_job_history
  FOR EACH ROW EXECUTE FUNCTION lifecycle.note('job', 'id', 'outcome')`;

const takeStatement = `
WITH taken AS (DELETE FROM lifecycle.change RETURNING *)
SELECT lifecycle, id, before, after FROM taken ORDER BY place`;

/** Lets triggers note every change of status of a window, run, dead letter or job, whichever statement makes it. */
export async function watchChanges({ pool }: TestDatabase): Promise<void> {
  await pool.query(watchStatements);
}

/** Forgets what was noted. */
export async function forgetChanges(pool: Pool): Promise<void> {
  await pool.query("DELETE FROM lifecycle.change");
}

/** Asserts that every change since the last call is in its lifecycle's transition table. */
export async function checkChanges(pool: Pool): Promise<void> {
  const { rows } = await pool.query<NotedChange>(takeStatement);
  const unknown = joinMoves(rows).filter(({ lifecycle, before, after }) => {
    const followers = new Map<string, readonly string[]>(Object.entries(tables[lifecycle]));
    return before === null || after === null || followers.get(before)?.includes(after) !== true;
  });
  expect(unknown).toEqual([]);
}

/** Joins a job's end in the queue with its beginning in the history, which one statement writes in any order. */
function joinMoves(noted: readonly NotedChange[]): NotedChange[] {
  const left = new Map(
    noted.flatMap(({ id, before, after }) => (after === null ? [[id, before]] : [])),
  );
  return noted
    .filter(({ after }) => after !== null)
    .map((change) =>
      change.before === null ? { ...change, before: left.get(change.id) ?? null } : change,
    );
}
