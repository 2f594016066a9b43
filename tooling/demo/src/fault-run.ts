import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { drawFaults, inject, size } from "./faults/faults.ts";
import { listenForTheEnd } from "./interruption.ts";
import { createProgress, type Progress } from "./progress.ts";
import { buildEverything } from "./system/build.ts";
import { Teardown } from "./system/teardown.ts";

/*
 * Breaks things at random for a while, under load, and then lets an observer that shares no code with the
 * system say what was lost. The seed decides which fault comes when.
 *
 *   pnpm test:faults [--seconds 60] [--seed N] [--json]
 */
const { values } = parseArgs({
  args: process.argv.slice(2).filter((arg) => arg !== "--"),
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const seconds = Math.min(300, Math.max(20, Number(values.seconds) || 60));
const seed = Number(values.seed) || 1;
const tickEveryMs = 1_500;
const settleDelayMs = 150_000;

async function run(teardown: Teardown, progress: Progress, signal: AbortSignal): Promise<boolean> {
  progress.say("Building");
  await buildEverything(teardown, signal);
  const { readMails, startSystem } = await import("./system/system.ts");
  const { Observer } = await import("./observer.ts");
  const { createCronWatchdog } = await import("./cron-watchdog.ts");
  const { seededRandom } = await import("@evenkeel/engine");
  const chance = seededRandom(seed);
  const system = await startSystem(teardown, signal, size);
  progress.say(`Seed ${seed}, ${seconds} s of faults, on ${system.server.engine}`);
  const { cron, inbox } = system;
  const observer = new Observer(system);
  const watchdog = createCronWatchdog(system, cron);
  const watch = async (): Promise<void> => {
    await watchdog.declare();
    // Declared a moment before the first window, which lies in the past.
    const declaredAt = new Date((cron.windows[0]?.scheduledAt.getTime() ?? 0) - 2_000);
    await system.pool.query(`UPDATE "evenkeel"."background_schedule" SET "updated_at" = $1`, [
      declaredAt,
    ]);
    await watchdog.run();
  };
  // As many a second whatever the time, so that a short run has no long rest to work off.
  const parts = await readMails(50 * seconds, Math.ceil((seconds * 1_000) / tickEveryMs / 2));
  const injected: Record<string, number> = {};
  let ingested = 0;

  // Faults come beside the ticks, as they do.
  const enough = new AbortController();
  const breaking = (async () => {
    for (const name of drawFaults(chance)) {
      await sleep(500 + chance() * 2_500, undefined, { signal });
      if (enough.signal.aborted) break;
      progress.say(name);
      if (await inject(name, system, chance)) injected[name] = (injected[name] ?? 0) + 1;
    }
  })();
  const untilMs = performance.now() + seconds * 1_000;
  for (let tick = 0; performance.now() < untilMs; tick += 1) {
    cron.tick();
    const part = tick % 2 === 0 ? parts.shift() : undefined;
    if (part !== undefined) ingested += (await ingestSurely(() => inbox.ingest(part))).stored;
    await sleep(tickEveryMs, undefined, { signal });
  }
  enough.abort();
  await breaking;
  progress.say("No more faults; the rest of the work ends");
  const crashed = [...system.workers, ...system.webs, system.server.child].filter(
    ({ hasEnded }) => hasEnded,
  );
  for (const child of crashed) progress.say(`${child.name} ended by itself:\n${child.lastLines()}`);
  const deadlineMs = performance.now() + (crashed.length === 0 ? settleDelayMs : 0);
  for (;;) {
    cron.tick();
    cron.flush();
    await watch();
    progress.show(await observer.look(cron));
    await sleep(tickEveryMs, undefined, { signal });
    if (cron.open === 0 && (await observer.isQuiet())) break;
    if (performance.now() > deadlineMs) break;
  }
  progress.end();

  const seen = await observer.conclude();
  const windows = cron.windows.length;
  const lostWindows = windows - cron.idleWindows - (seen.ledger.windows.byStatus.ENQUEUED ?? 0);
  const unsettled = seen.jobs.due + seen.jobs.scheduled + seen.jobs.running;
  const missing = {
    windows: lostWindows,
    jobs: unsettled,
    unaccounted: seen.unaccounted,
    messages: ingested - seen.inbox.messages,
    statuses: seen.ledger.windows.byStatus,
  };
  const result = {
    seed,
    ticks: cron.counts.sent,
    windows,
    jobs: seen.enqueued,
    faults: injected,
    recovered: { jobs: seen.recovered, windows: seen.repaired },
    lost: missing.windows + missing.jobs + missing.unaccounted + Math.abs(missing.messages),
    doubleSettled: seen.settledTwice + seen.inbox.doubleSent,
    duplicateRuns: seen.ledger.runs.duplicateForWindow,
    crossTenant: seen.crossTenant,
  };
  if (crashed.length > 0) process.stderr.write("A process ended by itself.\n");
  const { lost, doubleSettled, duplicateRuns, crossTenant } = result;
  const ok =
    lost === 0 &&
    doubleSettled === 0 &&
    duplicateRuns === 0 &&
    crossTenant === 0 &&
    crashed.length === 0;
  for (const [name, value] of Object.entries({ ...result, missing, ok })) {
    process.stderr.write(`  ${name.padEnd(14)} ${JSON.stringify(value)}\n`);
  }
  if (values.json) console.log(JSON.stringify({ ...result, ok }));
  return ok;
}

/** A mail gateway hands a message over again when it got no answer. */
async function ingestSurely<T>(ingest: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ingest();
    } catch (error) {
      if (attempt === 100) throw error;
      await sleep(200);
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
