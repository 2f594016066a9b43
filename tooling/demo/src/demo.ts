import { setTimeout as sleep } from "node:timers/promises";

import { askForFault, type EngineFault } from "./faults/engine-faults.ts";
import { showHandshake, type HandshakeShow } from "./handshake.ts";
import { Observer, type Observation } from "./observer.ts";
import type { Progress } from "./progress.ts";
import { readMails, startSystem } from "./system/system.ts";
import type { Teardown } from "./system/teardown.ts";
import type { CronService } from "./ticks.ts";

/** What the demo has run and seen, for the checks. */
export interface DemoRun {
  readonly engine: string;
  readonly durationMs: number;
  readonly ingested: number;
  readonly cron: CronService;
  readonly observation: Observation;
  readonly outageTicksFailed: number;
  readonly workersUsed: number;
  readonly handshake: HandshakeShow;
  /** Addresses of what runs, for `--keep`. */
  readonly addresses: Readonly<Record<string, string>>;
}

const tickEveryMs = 2_500;
/** Windows after whose ticks something happens; each third one's ticks are late, so nothing starts with it. */
const script = {
  faultsAsked: 2,
  workerKilled: 4,
  memoryLost: 7,
  inngestGone: 9,
  inngestBack: 12,
  lastIngest: 13,
};
const ingestParts = 7;
const finishWithinMs = 100_000;

/** Runs the demo: starts everything, ticks, breaks things, and waits until all work is done. */
export async function runDemo({
  mails,
  faults,
  progress,
  teardown,
  signal,
}: {
  readonly mails: number;
  readonly faults: readonly EngineFault[];
  readonly progress: Progress;
  readonly teardown: Teardown;
  readonly signal: AbortSignal;
}): Promise<DemoRun> {
  const startedAtMs = performance.now();
  progress.say("Starting Postgres, an Inngest server, web and worker");
  const system = await startSystem(teardown, signal);
  const { cron, gate, inbox } = system;
  progress.say(`Inngest server: ${system.server.engine}; database: ${system.databaseDescription}`);
  const handshake = await showHandshake(system, { progress, teardown, signal });

  const parts = await readMails(mails, ingestParts);
  let ingested = 0;
  const ingestPart = async (): Promise<void> => {
    const part = parts.shift();
    if (part !== undefined) ingested += (await inbox.ingest(part)).stored;
  };
  await ingestPart();

  const observer = new Observer(system);
  let workersUsed = 1;
  let outageTicksFailed = 0;
  const deadlineMs = performance.now() + finishWithinMs;
  let observation: Observation | undefined;
  for (let window = 1; ; window += 1) {
    const isKilling = window === script.workerKilled || window === script.memoryLost;
    if (isKilling || (window <= script.lastIngest && window % 2 === 0)) await ingestPart();
    cron.tick();
    if (window === script.faultsAsked) {
      for (const fault of faults) {
        await askForFault(system, fault);
        progress.say(`The Inngest server is asked for ${fault}`);
      }
    }
    if (window === script.inngestGone) {
      await gate.shut();
      progress.say("The Inngest server cannot be reached");
    }
    if (window === script.inngestBack) {
      outageTicksFailed = cron.counts.failed;
      await gate.open();
      progress.say(`The Inngest server is back; ${outageTicksFailed} ticks were answered 503`);
    }
    if (window === script.workerKilled) {
      progress.say(
        `The worker (pid ${system.workers[0]?.pid}) is killed in mid-run, another follows`,
      );
      await system.replace("workers", 0, async () => (await observer.runningJobs()) > 0);
      workersUsed += 1;
    }
    if (window === script.memoryLost) {
      progress.say("The Inngest server is killed and starts again with its memory lost");
      await system.replaceServer(async () => (await observer.openRuns()) > 0);
    }
    const untilMs = performance.now() + tickEveryMs;
    while (performance.now() < untilMs) {
      progress.show(await observer.look(cron));
      await sleep(500, undefined, { signal });
    }
    if (window > script.lastIngest && parts.length === 0) {
      cron.flush();
      const isDone = cron.open === 0 && (await observer.isQuiet());
      const isLate = performance.now() > deadlineMs;
      if (!isDone && !isLate) continue;
      observation = await observer.conclude();
      // Maintenance may have begun since it was quiet.
      if (isLate || (observation.ledger.runs.byStatus.RUNNING ?? 0) === 0) break;
    }
  }
  return {
    engine: system.server.engine,
    durationMs: Math.round(performance.now() - startedAtMs),
    ingested,
    cron,
    observation: observation ?? (await observer.conclude()),
    outageTicksFailed,
    workersUsed,
    handshake,
    addresses: {
      web: system.webUrl,
      worker: system.workerUrl,
      inngest: gate.url,
      database: system.databaseUrl,
      cronSecret: system.cronSecret,
    },
  };
}
