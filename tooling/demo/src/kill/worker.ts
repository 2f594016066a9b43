import { setTimeout as sleep } from "node:timers/promises";

import { createRunner, handleJob, type AttemptContext, type JobHandler } from "@evenkeel/jobs";
import { createLedger } from "@evenkeel/ledger";
import { Pool } from "pg";

import { listenForTheEnd } from "../interruption.ts";
import { definitions, kinds, type Kind } from "./jobs.ts";
import { noteStart } from "./start-notes.ts";

/*
 * A worker of the kill run: drains until it is killed. Its sessions carry its name, so that the database can tell
 * who wrote what.
 */
const [
  databaseUrl = "",
  recorderUrl = "",
  owner = "",
  leaseMs = "",
  workMs = "",
  concurrency = "",
  startNotes = "",
] = process.argv.slice(2);

const open = (): Pool => {
  const pool = new Pool({ connectionString: databaseUrl, max: 2, application_name: owner });
  pool.on("error", () => {});
  return pool;
};
// Two pools: handlers' transactions must not keep heartbeats waiting.
const ledger = createLedger({ pool: open() });
const product = open();
/** The fence of each job claimed here, which a handler is not told. */
const fences = new Map<string, string>();

const work = (): Promise<void> => sleep(Math.random() * Number(workMs));

/** Tells the outside that an effect happened. It counts the call at once and answers a moment later. */
async function record(kind: Kind, job: string, key: string, signal: AbortSignal): Promise<number> {
  const url = `${recorderUrl}/${kind}/${job}/${key}`;
  const response = await fetch(url, { method: "POST", signal });
  return Number(await response.text());
}

const handlers: Readonly<Record<Kind, (job: AttemptContext, fence: string) => Promise<unknown>>> = {
  plain: ({ id }, fence) =>
    product.query(`INSERT INTO "kill_run"."plain" VALUES ($1, $2)`, [id, fence]),
  transaction: async (job, fence) => {
    const client = await product.connect();
    let failure: unknown;
    try {
      await client.query("BEGIN");
      await client.query(`INSERT INTO "kill_run"."completed" VALUES ($1, $2)`, [job.id, fence]);
      await work();
      await job.completeIn(client);
      await client.query("COMMIT");
    } catch (error) {
      failure = error;
      await client.query("ROLLBACK").catch(() => {});
      throw error;
    } finally {
      client.release(failure !== undefined);
    }
  },
  retry: ({ id, effects }) =>
    effects.once("call", ({ idempotencyKey, signal }) =>
      record("retry", id, idempotencyKey, signal),
    ),
  park: ({ id, effects }) =>
    effects.once(
      "call",
      ({ idempotencyKey, signal }) => record("park", id, idempotencyKey, signal),
      { inDoubt: "park" },
    ),
  // That it started is noted for every kind.
  single: () => Promise.resolve(),
};

function handle(kind: Kind): JobHandler {
  return handleJob(definitions[kind], async (job) => {
    const fence = fences.get(job.id) ?? "";
    noteStart(startNotes, "ran", { id: job.id, fence });
    await work();
    await handlers[kind](job, fence);
    await work();
  });
}

const runner = createRunner({
  ledger: {
    jobs: {
      ...ledger.jobs,
      claim: async (request) => {
        const result = await ledger.jobs.claim(request);
        for (const { id, fence } of result.jobs) fences.set(id, fence);
        return result;
      },
      start: (claims) => {
        for (const claim of claims) noteStart(startNotes, "asked", claim);
        return ledger.jobs.start(claims);
      },
    },
  },
  handlers: kinds.map(handle),
  owner,
  concurrency: Number(concurrency),
  leaseMs: Number(leaseMs),
});

const signal = listenForTheEnd();
while (!signal.aborted) {
  try {
    const { claimed } = await runner.drain({ budgetMs: 60_000, signal, abortGraceMs: 1_000 });
    if (claimed === 0) await sleep(200);
  } catch (error) {
    process.stderr.write(`${String(error)}\n`);
    await sleep(200);
  }
}
process.exit();
