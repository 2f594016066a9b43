import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { seededRandom } from "@evenkeel/engine";
import { enqueueMany } from "@evenkeel/jobs";
import { createLedger } from "@evenkeel/ledger";
import { Pool } from "pg";

import { listenForTheEnd } from "./interruption.ts";
import { conclude } from "./kill/conclusion.ts";
import { Fleet } from "./kill/fleet.ts";
import { definitions, kinds } from "./kill/jobs.ts";
import { createLogTables } from "./kill/log-tables.ts";
import { startRecorder } from "./kill/recorder.ts";
import { readStartNotes } from "./kill/start-notes.ts";
import { createProgress, type Progress } from "./progress.ts";
import { openDatabase } from "./system/database.ts";
import { Teardown } from "./system/teardown.ts";

/*
 * Kills workers at random while they work off a queue, replaces each, stops others until their leases are gone, and
 * then counts effects: in tables, in the handlers' own transactions, and outside. The seed decides whom it hits when.
 *
 *   pnpm test:kill [--seconds 120] [--jobs 100000] [--workers 20] [--seed N] [--json]
 */
const { values } = parseArgs({
  args: process.argv.slice(2).filter((arg) => arg !== "--"),
  options: {
    seconds: { type: "string", default: "120" },
    jobs: { type: "string", default: "100000" },
    workers: { type: "string", default: "20" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const bounded = (text: string, least: number, most: number): number =>
  Math.min(most, Math.max(least, Math.trunc(Number(text)) || least));
const seconds = bounded(values.seconds, 10, 3_600);
const jobsPerKind = Math.ceil(bounded(values.jobs, 400, 10_000_000) / kinds.length);
const workers = bounded(values.workers, 2, 60);
const seed = bounded(values.seed, 1, 2 ** 31);

const tenants = 40;
const leaseMs = 3_000;
/** The budget of the design: a lease and five seconds. */
const recoveryWithinMs = leaseMs + 5_000;
const concurrency = 10;
const settleDelayMs = 300_000;

async function run(teardown: Teardown, progress: Progress, signal: AbortSignal): Promise<boolean> {
  const chance = seededRandom(seed);
  const database = await openDatabase(teardown, signal);
  const pool = new Pool({ connectionString: database.url, max: 5, application_name: "kill-run" });
  // Postgres may go before the last of them has said goodbye.
  pool.on("error", () => {});
  teardown.add("the connections", () => pool.end());
  const ledger = createLedger({ pool });
  await ledger.migrate();
  await createLogTables(pool);
  const recorder = await startRecorder();
  teardown.add("the recorder", () => recorder.close());
  const notes = await mkdtemp(join(tmpdir(), "evenkeel-kill-"));
  teardown.add("the notes of starts", () => rm(notes, { recursive: true, force: true }));
  const startNotes = join(notes, "starts");
  // So long that the jobs last about as long as the kills, if the machine can keep up.
  const workMs = (0.7 * seconds * 1_000 * workers * concurrency) / (jobsPerKind * kinds.length);
  const options = { pool, databaseUrl: database.url, recorderUrl: recorder.url, startNotes };
  const fleet = new Fleet({ ...options, size: workers, concurrency, leaseMs, workMs }, teardown);
  progress.say(
    `Seed ${seed}: ${workers} workers, ${jobsPerKind * kinds.length} jobs, on ${database.description}`,
  );
  await enqueueAll(pool, signal);

  progress.say(`Killing for ${seconds} s`);
  const show = async (): Promise<number> => {
    const counts = await ledger.jobs.counts();
    const { due, scheduled, running, succeeded, dead } = counts;
    progress.say(
      `due ${due + scheduled}  running ${running}  done ${succeeded}  dead ${dead}  workers killed ${fleet.killed}`,
    );
    return due + scheduled + running;
  };
  const untilMs = performance.now() + seconds * 1_000;
  const stopping = (async () => {
    // By then all of them are at work.
    await sleep(3_000, undefined, { signal });
    await fleet.stopOne(chance, "two leases");
    while (performance.now() < untilMs) await fleet.stopOne(chance, "taken over");
  })();
  stopping.catch(() => {});
  for (let shownAtMs = 0; performance.now() < untilMs;) {
    await sleep(400 + chance() * 1_200, undefined, { signal });
    await fleet.killOne(chance);
    if (performance.now() - shownAtMs < 10_000) continue;
    shownAtMs = performance.now();
    await show();
  }
  const killed = fleet.killed;
  progress.say(`${killed} workers were killed; the rest of the work ends`);
  await stopping;
  const deadlineMs = performance.now() + settleDelayMs;
  for (let shown = 0; performance.now() < deadlineMs; shown += 1) {
    const { rows } = await pool.query(`SELECT FROM "evenkeel"."background_job" LIMIT 1`);
    if (rows.length === 0) break;
    if (shown % 10 === 9) await show();
    await sleep(1_000, undefined, { signal });
  }
  await fleet.settleNotes();
  const crashed = fleet.crashed;
  for (const child of crashed) progress.say(`${child.name} ended by itself:\n${child.lastLines()}`);
  await fleet.end();
  await show();

  const { checks, figures } = await conclude({
    pool,
    recorder,
    starts: await readStartNotes(startNotes),
    jobsPerKind,
    recoveryWithinMs,
  });
  const all = { ...checks, "no worker ended by itself": crashed.length === 0 };
  const ok = Object.values(all).every(Boolean);
  for (const [name, value] of Object.entries(figures)) {
    process.stderr.write(`  ${name.padEnd(12)} ${JSON.stringify(value)}\n`);
  }
  for (const [name, holds] of Object.entries(all)) {
    process.stderr.write(`${holds ? "  ok  " : "FAILED"}  ${name}\n`);
  }
  if (values.json)
    console.log(JSON.stringify({ checks: all, ok, seed, seconds, workers, killed, ...figures }));
  return ok;
}

/** The jobs in an order in which kinds and tenants take turns; a fifth of them is one tenant's. */
async function enqueueAll(pool: Pool, signal: AbortSignal): Promise<void> {
  // So few that kinds take turns within the time of the kills.
  const bulk = 50;
  for (let from = 0; from < jobsPerKind; from += bulk) {
    const numbers = Array.from({ length: Math.min(bulk, jobsPerKind - from) }, (_, n) => from + n);
    const inputs = numbers.map((n) => ({
      tenantId: `tenant-${n % 5 === 0 ? 0 : n % tenants}`,
      payload: { n },
    }));
    for (const kind of kinds) {
      signal.throwIfAborted();
      await enqueueMany(pool, definitions[kind], inputs);
    }
  }
}

const signal = listenForTheEnd();
const teardown = new Teardown();
try {
  process.exitCode = (await run(teardown, createProgress(process.stderr), signal)) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${signal.aborted ? "Stopped." : String(error)}\n`);
  process.exitCode = signal.aborted ? 130 : 1;
} finally {
  await teardown.run();
  process.exit();
}
