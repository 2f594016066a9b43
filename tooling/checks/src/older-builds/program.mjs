/*
 * A host of an older build: it does everything that the ledger and the queue are for, and prints what came of it. It runs
 * where an older build is installed, so it has no types to be checked by.
 *
 *   node program.mjs <database URL> <environment or -> <migrate or ->
 */
import { createRunner, defineJob, enqueue, handleJob, TerminalError } from "@evenkeel/jobs";
import { createLedger } from "@evenkeel/ledger";
import { Pool } from "pg";
import { z } from "zod";

const [databaseUrl, environment, migrates] = process.argv.slice(2);
const warnings = [];
const logger = {
  debug: () => {},
  info: () => {},
  warn: (event, fields) => warnings.push([event, fields]),
  error: (event, fields) => warnings.push([event, fields]),
};
const pool = new Pool({ connectionString: databaseUrl, max: 4 });
const ledger = createLedger({ pool, logger, ...(environment === "-" ? {} : { environment }) });

async function work() {
  const migrated = migrates === "migrate" ? await ledger.migrate() : undefined;
  await ledger.ping();
  const payload = z.object({ note: z.string() });
  const written = defineJob({
    type: "note.write",
    version: 1,
    payload,
    unique: ({ note }) => note,
  });
  const refused = defineJob({ type: "note.refuse", version: 1, payload });
  const notes = [];
  const handlers = [
    handleJob(written, async ({ payload: { note }, effects }) => {
      await effects.once("write", async () => notes.push(note));
      return { note };
    }),
    handleJob(refused, async () => {
      throw new TerminalError("Refused.");
    }),
  ];
  const first = await enqueue(pool, written, { tenantId: "acme", payload: { note: "one" } });
  const again = await enqueue(pool, written, { tenantId: "acme", payload: { note: "one" } });
  await enqueue(pool, refused, { tenantId: "bolt", payload: { note: "two" } });
  const later = { tenantId: "bolt", payload: { note: "three" }, delayMs: 3_600_000 };
  await enqueue(pool, written, later);
  const runner = createRunner({ ledger, handlers, owner: "older" });
  const { succeeded, dead } = await runner.drain({ budgetMs: 60_000 });

  const window = {
    dispatchKey: `older|${process.pid}`,
    schedule: "older",
    scope: "global",
    windowStart: new Date("2026-01-01T00:00:00Z"),
    windowSeconds: 60,
    lane: "stable",
    owner: "older",
    correlationId: "c",
  };
  const claim = await ledger.windows.claim({ ...window, leaseMs: 30_000 });
  const sent = await ledger.windows.markEnqueued(window.dispatchKey, claim.fence);
  const repeated = await ledger.windows.claim({ ...window, leaseMs: 30_000 });
  const run = { runId: `run-${process.pid}`, functionId: "f" };
  const { dispatchKey } = window;
  const guard = await ledger.guards.take({ ...run, dispatchKey, continuation: 0 });
  const holder = "00000000-0000-4000-8000-000000000000";
  const started = { ...run, owner: "older", holder, attempt: 0, eventName: "e", lane: "stable" };
  const begun = await ledger.runs.begin({ ...started, dispatchKey });
  const ended = await ledger.runs.finish({ ...run, fence: begun.fence, status: "SUCCEEDED" });
  await ledger.schedules.declare([{ id: "older", paused: false, definition: { every: 60 } }]);
  await ledger.outbox.add(pool, [{ name: "older/event", data: {} }]);
  const operator = ledger.asOperator("older");
  const { progress } = await ledger.receipt(dispatchKey);
  const { deleted } = await ledger.prune();
  await ledger.reconcile({
    owner: "older",
    leaseMs: 60_000,
    neverStartedAfterMs: 60_000,
    staleAfterMs: 60_000,
    maxAgeMs: 3_600_000,
    limit: 10,
  });
  await ledger.report();
  return {
    ...(migrated === undefined ? {} : { migrated }),
    jobs: { created: [first.created, again.created], succeeded, dead, notes },
    window: { claim: claim.outcome, sent, repeated: repeated.outcome, progress },
    run: { guard: guard.outcome, ended },
    letters: (await operator.deadLetters.list()).map(({ name }) => name),
    seen: (await ledger.forTenant("acme").jobs.list()).length,
    deleted,
  };
}

let outcome;
try {
  outcome = await work();
} catch (error) {
  outcome = { code: error.code, message: error.message };
}
await ledger.close();
await pool.end();
console.log(JSON.stringify({ ...outcome, warnings }));
