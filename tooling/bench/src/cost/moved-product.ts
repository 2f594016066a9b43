import { clockStatements } from "@evenkeel/core/database-clock";
import { createEngine, virtualClock, type Engine } from "@evenkeel/engine";
import { createBackground } from "@evenkeel/functions";
import { defineJob, enqueueMany, handleJob } from "@evenkeel/jobs";
import { createLedger } from "@evenkeel/ledger";
import type { PostgresCluster } from "@evenkeel/test-postgres";
import { serve } from "inngest/edge";
import { Client, Pool } from "pg";
import { z } from "zod";

const minuteMs = 60_000;
const startMs = Date.parse("2026-01-01T00:00:00Z");

const noteJob = defineJob({ type: "note.write", version: 1, payload: z.object({ n: z.number() }) });

const receiptSchema = z.object({ mode: z.string() });

/** What an engine counted. */
export interface Executions {
  readonly runs: number;
  readonly steps: number;
}

/** A product of one schedule of 60 s, with every part of a host on, whose time and whose engine's time is moved. */
export interface MovedProduct {
  /** Lets so many minutes pass, each with its tick, and with jobs that were enqueued before it: `jobsAt(minute)`. */
  pass(minutes: number, jobsAt?: (minute: number) => number): Promise<void>;
  /** Returns what was executed since the last call. */
  count(): Executions;
  /** How many jobs have ended. */
  done(): number;
  /** How the ticks were answered, by mode. */
  readonly modes: Map<string, number>;
  close(): Promise<void>;
}

/** Opens a {@link MovedProduct} on a database of its own. */
export async function openMovedProduct(
  cluster: PostgresCluster,
  name: string,
): Promise<MovedProduct> {
  await inSession(cluster.url(), `CREATE DATABASE ${name}`);
  const url = cluster.url(name);
  const migrating = createLedger({ databaseUrl: url });
  await migrating.migrate();
  await migrating.close();
  await inSession(url, clockStatements);
  const pool = new Pool({ connectionString: url, max: 10 });
  pool.on("error", () => {});
  let nowMs = startMs;
  let done = 0;
  const moveTo = async (atMs: number): Promise<void> => {
    nowMs = Math.max(nowMs, atMs);
    await pool.query(`UPDATE clock.state SET moved_to = $1`, [new Date(nowMs)]);
  };
  await moveTo(startMs);
  const engine = createEngine({
    handler: async (request) => {
      await moveTo(engine.now());
      return background.inngest(request);
    },
    clock: virtualClock({ start: startMs }),
    // How long a call takes in real time depends on what else the machine does.
    stallMs: 600_000,
    retention: { runs: 1_000_000, journal: 0 },
  });
  const background = createBackground({
    appId: "cost",
    environment: {
      CRON_SECRET: "bench-bench-bench-bench",
      INNGEST_DEV: "1",
      INNGEST_BASE_URL: engine.url,
    },
    pool,
    handlers: [handleJob(noteJob, async () => void (done += 1))],
    maintenance: { pruner: true },
    // In moved time nobody enqueues while a drain waits.
    idleTimeoutMs: 0,
    serve,
    fetch: engine.fetch,
    clock: { now: () => new Date(nowMs) },
  });
  const modes = new Map<string, number>();
  let counted: Executions = { runs: 0, steps: 0 };

  async function tick(): Promise<void> {
    const response = await background.cron(
      new Request("http://127.0.0.1/api/cron/background-jobs", {
        headers: { authorization: "Bearer bench-bench-bench-bench" },
      }),
    );
    const { mode } = receiptSchema.parse(await response.json());
    modes.set(mode, (modes.get(mode) ?? 0) + 1);
  }

  return {
    modes,
    done: () => done,
    pass: async (minutes, jobsAt = () => 0) => {
      for (let minute = 0; minute < minutes; minute += 1) {
        const jobs = jobsAt(minute);
        const inputs = Array.from({ length: jobs }, (_, n) => ({
          tenantId: `tenant-${n % 20}`,
          payload: { n },
        }));
        if (jobs > 0) await enqueueMany(pool, noteJob, inputs);
        await tick();
        await engine.advanceTo(nowMs + minuteMs);
        await moveTo(engine.now());
      }
    },
    count: () => {
      const total = executionsOf(engine);
      const since = { runs: total.runs - counted.runs, steps: total.steps - counted.steps };
      counted = total;
      return since;
    },
    close: async () => {
      await engine.close();
      await background.close();
      await pool.end();
    },
  };
}

/** What an engine executed in all: its runs and their steps. */
export function executionsOf(engine: Pick<Engine, "runs">): Executions {
  const runs = engine.runs();
  return { runs: runs.length, steps: runs.reduce((sum, { steps }) => sum + steps.length, 0) };
}

async function inSession(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
