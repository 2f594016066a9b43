import {
  contenderNames,
  limitName,
  openAll,
  openArena,
  openContender,
  type Arena,
} from "./queue/arena.ts";
import { measureClaims, measureSmallTenantsWait } from "./queue/claims.ts";
import { measureCost } from "./queue/cost.ts";
import {
  measureIdleClaims,
  measureIdleDrain,
  openIdleTransaction,
} from "./queue/idle-transaction.ts";
import { measurePickup, type Pickup } from "./queue/pickup.ts";
import { toReport, type QueueFigures } from "./queue/queue-report.ts";
import { measureRates } from "./queue/rates.ts";
import { measureSize, type Size } from "./queue/size.ts";
import type { BenchReport } from "./report.ts";

/** How much of each. */
const amounts = {
  full: {
    rates: { count: 50_000, slowCount: 10_000, rounds: 3 },
    pickupSeconds: 20,
    claims: { short: 10_000, long: 1_000_000, finished: 10_000_000, samples: 400 },
    idleClaims: 50_000,
    idleDrain: 10_000,
    size: 1_000_000,
  },
  quick: {
    rates: { count: 5_000, slowCount: 1_000, rounds: 1 },
    pickupSeconds: 4,
    claims: { short: 10_000, long: 100_000, finished: 100_000, samples: 100 },
    idleClaims: 10_000,
    idleDrain: 2_000,
    size: 20_000,
  },
};

/**
 * Measures the job queue beside graphile-worker and pg-boss: the same jobs, one durable Postgres, each in
 * databases of its own, one after another in turn; and against two bare statements, which are the limit.
 */
export async function benchQueue({ quick }: { readonly quick: boolean }): Promise<BenchReport> {
  const amount = quick ? amounts.quick : amounts.full;
  const arena = await openArena();
  try {
    const queues = await openAll(arena);
    const rates = await measureRates(queues, amount.rates);
    const costs = await measureCost(arena, queues, amount.rates.count);
    for (const queue of queues) await queue.close();

    const pickups = new Map<string, Pickup>();
    const idleDrains = new Map<string, number>();
    for (const name of contenderNames) {
      pickups.set(name, await pickUp(arena, name, amount.pickupSeconds, false));
      idleDrains.set(name, await measureIdleDrain(arena, name, amount.idleDrain));
    }
    const idlePickup = await pickUp(arena, contenderNames[0], amount.pickupSeconds, true);
    const idleClaims = await measureIdleClaims(arena, amount.idleClaims);
    const claims = await measureClaims(arena, amount.claims);
    const wait = await measureSmallTenantsWait(arena, amount.claims.short);

    const sizes = new Map<string, Size>();
    for (const name of contenderNames) {
      // Plain graphile-worker has the tables of the batched one, and would take minutes.
      if (name === "graphile-worker") continue;
      const contender = await openContender(arena, name);
      sizes.set(name, await measureSize(arena, contender, amount.size));
      await contender.close();
    }
    const figures: QueueFigures = {
      rates,
      costs,
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

async function pickUp(
  arena: Arena,
  name: (typeof contenderNames)[number],
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
