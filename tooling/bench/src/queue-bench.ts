import type { BenchSize } from "./bench-size.ts";
import { openIdleTransaction } from "./claims/idle-transaction.ts";
import {
  contenderNames,
  limitName,
  openAll,
  openArena,
  openContender,
  type Arena,
  type ContenderName,
} from "./queue/arena.ts";
import { measureClaims, measureSmallTenantsWait } from "./queue/claims.ts";
import { measureHandlerCost } from "./queue/handler-cost.ts";
import { measureIdleClaims, measureIdleDrain } from "./queue/idle-transaction.ts";
import { measurePickup, type Pickup } from "./queue/pickup.ts";
import { toReport, type QueueFigures } from "./queue/queue-report.ts";
import { measureRates } from "./queue/rates.ts";
import { measureSize, type Size } from "./queue/size.ts";
import { measureStatements } from "./queue/statements.ts";
import { measureProcesses } from "./queue/worker-processes.ts";
import type { BenchReport } from "./report.ts";

/** How much of each. */
const amounts = {
  full: {
    rounds: 5,
    rates: { count: 50_000, slowCount: 10_000 },
    statements: 10_000,
    processes: 100_000,
    handlers: 5_000,
    pickupSeconds: 20,
    claims: { short: 10_000, long: 1_000_000, finished: 10_000_000, samples: 400 },
    idleClaims: 50_000,
    idleDrain: 10_000,
    size: 1_000_000,
  },
  quick: {
    rounds: 3,
    rates: { count: 5_000, slowCount: 1_000 },
    statements: 1_000,
    processes: 20_000,
    handlers: 500,
    pickupSeconds: 4,
    claims: { short: 10_000, long: 100_000, finished: 100_000, samples: 100 },
    idleClaims: 10_000,
    idleDrain: 2_000,
    size: 20_000,
  },
  smoke: {
    rounds: 1,
    rates: { count: 1_000, slowCount: 200 },
    statements: 200,
    processes: 2_000,
    handlers: 100,
    pickupSeconds: 1,
    claims: { short: 1_000, long: 5_000, finished: 5_000, samples: 5 },
    idleClaims: 1_000,
    idleDrain: 500,
    size: 1_000,
  },
};

/**
 * Measures the job queue beside graphile-worker, pg-boss and BullMQ: the same jobs, one durable Postgres, each in
 * databases of its own, one after another in turn; and against two bare statements, which are the limit.
 */
export async function benchQueue(options: {
  readonly size: BenchSize;
  /** Rounds of what is measured in turn. */
  readonly rounds: number | undefined;
}): Promise<BenchReport> {
  const amount = amounts[options.size];
  const rounds = options.rounds ?? amount.rounds;
  const arena = await openArena();
  try {
    report("rates");
    const queues = await openAll(arena);
    const rates = await measureRates(arena, queues, { ...amount.rates, rounds });
    const statements = await measureStatements(arena, queues, amount.statements);
    for (const queue of queues) await queue.close();

    report("worker processes");
    const processes = await measureProcesses(arena, { count: amount.processes, rounds });
    const handlerCost = await measureHandlerCost(arena, { count: amount.handlers, rounds });

    report("pickup, and drains beside an idle transaction");
    const pickups = new Map<string, Pickup>();
    const idleDrains = new Map<string, number>();
    for (const name of contenderNames) {
      pickups.set(name, await pickUp(arena, name, amount.pickupSeconds, false));
      idleDrains.set(name, await measureIdleDrain(arena, name, amount.idleDrain));
    }
    const idlePickup = await pickUp(arena, contenderNames[0], amount.pickupSeconds, true);
    const idleClaims = await measureIdleClaims(arena, amount.idleClaims);
    report("claims");
    const claims = await measureClaims(arena, amount.claims);
    const wait = await measureSmallTenantsWait(arena, amount.claims.short);
    report("sizes of tables");
    const sizes = await measureSizes(arena, amount.size);
    const figures: QueueFigures = {
      rates,
      statements,
      processes,
      handlerCost,
      pickups,
      idlePickup,
      idleDrains,
      idleClaims,
      claims,
      wait,
      sizes,
    };
    return toReport([...contenderNames, limitName], figures, amount);
  } finally {
    await arena.stop();
  }
}

/** A full run takes the better part of an hour. */
function report(part: string): void {
  console.error(`${new Date().toISOString()} ${part}`);
}

async function pickUp(
  arena: Arena,
  name: ContenderName,
  seconds: number,
  isIdle: boolean,
): Promise<Pickup> {
  const contender = await openContender(arena, name);
  const end = isIdle ? await openIdleTransaction(arena.url(contender.database)) : undefined;
  const pickup = await measurePickup(contender, seconds);
  await end?.();
  await contender.close();
  return pickup;
}

async function measureSizes(arena: Arena, count: number): Promise<Map<string, Size>> {
  const sizes = new Map<string, Size>();
  for (const name of contenderNames) {
    // Plain graphile-worker has the tables of the batched one, and would take minutes.
    if (name === "graphile-worker") continue;
    const contender = await openContender(arena, name);
    // BullMQ would take as long: a tenth is enough for bytes per job.
    const most = name === "BullMQ" ? count / 10 : count;
    sizes.set(name, await measureSize(arena, contender, most));
    await contender.close();
  }
  return sizes;
}
