import type { TestDatabase } from "@evenkeel/test-postgres/testing";

import type { LedgerModel } from "./ledger-model.ts";

type Pool = TestDatabase["pool"];

/** The lifecycles' rows, one text each, in order: what is compared between the tables and the model. */
export type LifecycleState = Record<
  "windows" | "guards" | "runs" | "jobs" | "history" | "letters" | "outbox",
  string[]
>;

const columns = {
  windows: `concat_ws(' ', "dispatch_key", "status", "claim_count", "duplicate_count", "failure_count",
    "repair_count") FROM "evenkeel"."background_dispatch_window"`,
  guards: `concat_ws(' ', "dispatch_key", "run_id") FROM "evenkeel"."background_dispatch_guard"`,
  runs: `concat_ws(' ', "run_id", "status") FROM "evenkeel"."background_function_run"`,
  jobs: `concat_ws(' ', "payload"->>'job', "state", "attempt", "crashes") FROM "evenkeel"."background_job"`,
  history: `concat_ws(' ', "id", "payload"->>'job', "outcome") FROM "evenkeel"."background_job_history"`,
  letters: `concat_ws(' ', "kind", "source_id", "status") FROM "evenkeel"."background_dead_letter"`,
  outbox: `concat_ws(' ', "event_id", "status") FROM "evenkeel"."background_outbox_event"`,
} as const satisfies Record<keyof LifecycleState, string>;

const readStatement = `SELECT jsonb_build_object(${Object.entries(columns)
  .map(([name, from]) => `'${name}', ARRAY(SELECT ${from})`)
  .join(", ")}) AS "state"`;

/** What the tables hold. */
export async function readState(pool: Pool): Promise<LifecycleState> {
  const { rows } = await pool.query<{ state: LifecycleState }>(readStatement);
  return sorted(rows[0]!.state);
}

/** What the model holds. */
export function stateOf(model: LedgerModel): LifecycleState {
  return sorted({
    windows: [...model.windows].map(([key, window]) => {
      const { status, claims, duplicates, failures, repairs } = window;
      return [key, status, claims, duplicates, failures, repairs].join(" ");
    }),
    guards: [...model.guards].map(([key, { runId }]) => `${key} ${runId}`),
    runs: [...model.runs].map(([runId, { status }]) => `${runId} ${status}`),
    jobs: [...model.jobs].map(
      ([job, { state, attempt, crashes }]) => `${job} ${state} ${attempt} ${crashes}`,
    ),
    history: model.history.map(({ id, job, outcome }) => `${id} ${job} ${outcome}`),
    letters: model.letters.map(({ kind, sourceId, status }) => `${kind} ${sourceId} ${status}`),
    outbox: model.outbox.map(({ eventId, status }) => `${eventId} ${status}`),
  });
}

/** Removes every row, for the next sequence. */
export async function clearState(pool: Pool): Promise<void> {
  const tables = Object.values(columns).map((from) => from.slice(from.indexOf("FROM")));
  const statements = tables.map((from) => `DELETE ${from}`);
  const others = [
    "background_outbox_relay",
    "background_schedule_idle",
    "background_job_unique_key",
  ].map((table) => `DELETE FROM "evenkeel"."${table}"`);
  await pool.query([...statements, ...others].join(";"));
}

function sorted(state: LifecycleState): LifecycleState {
  const entries = Object.entries(state).map(([name, rows]) => [name, rows.toSorted()]);
  return Object.fromEntries(entries) as LifecycleState;
}
