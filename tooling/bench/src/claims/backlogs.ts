import { setTimeout as sleep } from "node:timers/promises";

import { benchType, type BenchQueue } from "./bench-queue.ts";
import {
  byThat,
  timeClaims,
  timeWarmClaims,
  toFigures,
  type ClaimTimes,
  type Subject,
} from "./claim-times.ts";
import type { Figure, Scenario, World } from "./scenario.ts";

/** The figures of the bars: one claim by another of the same build. */
export const backlogRatios = {
  long: "long backlog by the short: claim p95",
  tomorrow: "tenants of tomorrow by without: claim p95",
  becomingDue: "1,000 a second become due by without: claim p95",
  types: "20 types by 1: claim p50",
  unknown: "unknown type by without, in the end: claim p50",
  unknownOfMany: "unknown type beside 20 by without, in the end: claim p50",
} as const;

const dayMs = 86_400_000;

/** One tenant's backlog beside a thousand tenants of one job, in claims of 10 to 100. */
const longBacklog: Scenario = {
  name: "long backlog",
  measure: async ({ isQuick, createQueue }) => {
    const subjects: Subject[] = [];
    for (const [name, due] of [
      ["short backlog", 10_000],
      ["long backlog", isQuick ? 100_000 : 1_000_000],
    ] as const) {
      const queue = await createQueue();
      await queue.enqueue({ tenantOf: () => "big", count: due });
      await queue.enqueue({ tenantOf: smallTenant, count: 1_000 });
      await queue.settleDown();
      subjects.push({ name, queue, types: [benchType] });
    }
    const timed = await timeWarmClaims(subjects, [10, 25, 50, 100], isQuick ? 100 : 400);
    const [short, long] = firstTwo(timed);
    return [
      ...figuresOf(subjects, timed),
      { name: backlogRatios.long, value: byThat(long, short, 0.95) },
    ];
  },
};

/** Half of them before the big one in an order by name, and half behind. */
function smallTenant(n: number): string {
  return `${n % 2 === 0 ? "a" : "small"}-${n}`;
}

/**
 * Tenants that have one job each for tomorrow, beside 50 tenants with a backlog, which both queues have. A claim is
 * larger than 50, so that each goes through all tenants. Then the same while a thousand more tenants a second become
 * due; in the other queue all of those are due.
 */
const tomorrow: Scenario = {
  name: "tenants of tomorrow",
  measure: async ({ isQuick, createQueue }) => {
    const soonSeconds = isQuick ? 4 : 10;
    const open = async (scheduled: number): Promise<BenchQueue> => {
      const queue = await createQueue();
      await queue.enqueue({ tenantOf: (n) => `tenant-${n % 50}`, count: 30_000 });
      const runAt = new Date(Date.now() + dayMs);
      await queue.enqueue({
        tenantOf: (n) => `tomorrow-${n}`,
        count: scheduled,
        runAtOf: () => runAt,
      });
      await queue.settleDown();
      return queue;
    };
    const [without, scheduled] = [await open(0), await open(isQuick ? 50_000 : 200_000)];
    const subjects = [
      { name: "without tenants of tomorrow", queue: without, types: [benchType] },
      { name: "tenants of tomorrow", queue: scheduled, types: [benchType] },
    ];
    const timed = await timeWarmClaims(subjects, [100], isQuick ? 60 : 300);
    const [base, beside] = firstTwo(timed);
    const soon = { tenantOf: (n: number) => `soon-${n}`, count: 1_000 * soonSeconds };
    await without.enqueue(soon);
    // They begin to become due once they are stored.
    const beginsAtMs = Date.now() + 2_000;
    await scheduled.enqueue({ ...soon, runAtOf: (n) => new Date(beginsAtMs + n) });
    await sleep(Math.max(0, beginsAtMs - Date.now()));
    const until = { ms: soonSeconds * 1_000 };
    const [still, becoming] = firstTwo(await timeClaims(subjects, { limits: [100], until }));
    return [
      ...figuresOf(subjects, timed),
      ...toFigures("1,000 a second become due", becoming),
      { name: backlogRatios.tomorrow, value: byThat(beside, base, 0.95) },
      { name: backlogRatios.becomingDue, value: byThat(becoming, still, 0.95) },
    ];
  },
};

/** As many jobs of 100 tenants, of one type and of twenty. */
const manyTypes: Scenario = {
  name: "many types",
  measure: async ({ isQuick, createQueue }) => {
    const subjects: Subject[] = [];
    for (const count of [1, 20]) {
      const types = typeNames(count);
      const queue = await createQueue();
      await queue.enqueue({
        tenantOf: (n) => `tenant-${n % 100}`,
        // Each tenant has each type.
        typeOf: (n) => types[Math.floor(n / 100) % count] ?? "",
        count: 20_000,
      });
      await queue.settleDown();
      subjects.push({ name: count === 1 ? "1 type" : `${count} types`, queue, types });
    }
    const timed = await timeWarmClaims(subjects, [100], isQuick ? 60 : 300);
    const [one, many] = firstTwo(timed);
    return [
      ...figuresOf(subjects, timed),
      { name: backlogRatios.types, value: byThat(many, one, 0.5) },
    ];
  },
};

/**
 * One of 50 tenants has jobs of a type that nobody here knows, older than all others: beside one known type and beside
 * twenty. A build may set them aside while it claims; what counts is how claims are after half a minute.
 */
const unknownType: Scenario = {
  name: "unknown type",
  measure: async (world) => {
    const { isQuick } = world;
    const subjects: Subject[] = [];
    for (const count of [1, 20]) {
      for (const unknown of [0, isQuick ? 20_000 : 100_000]) {
        const beside = count === 1 ? "" : ` beside ${count}`;
        const name = unknown === 0 ? `no unknown type${beside}` : `unknown type${beside}`;
        subjects.push({ name, ...(await openWithUnknown(world, typeNames(count), unknown)) });
      }
    }
    const samples = isQuick ? 30 : 60;
    const first = await timeClaims(subjects, { limits: [100], until: { samples } });
    await timeClaims(subjects, { limits: [100], until: { ms: isQuick ? 5_000 : 30_000 } });
    const last = await timeClaims(subjects, { limits: [100], until: { samples: 2 * samples } });
    const [without, withUnknown] = firstTwo(last);
    const [withoutOfMany, withUnknownOfMany] = firstTwo(last.slice(2));
    const named = (timed: readonly ClaimTimes[], when: string): Figure[] =>
      figuresOf(
        subjects.map((subject) => ({ ...subject, name: `${subject.name}, ${when}` })),
        timed,
      );
    return [
      ...named(first, "at first"),
      ...named(last, "in the end"),
      { name: backlogRatios.unknown, value: byThat(withUnknown, without, 0.5) },
      { name: backlogRatios.unknownOfMany, value: byThat(withUnknownOfMany, withoutOfMany, 0.5) },
    ];
  },
};

async function openWithUnknown(
  { createQueue }: World,
  types: readonly string[],
  unknown: number,
): Promise<Pick<Subject, "queue" | "types">> {
  const queue = await createQueue();
  const hourAgo = new Date(Date.now() - 3_600_000);
  await queue.enqueue({
    tenantOf: () => "tenant-0",
    typeOf: () => "unknown",
    count: unknown,
    runAtOf: () => hourAgo,
  });
  await queue.enqueue({
    tenantOf: (n) => `tenant-${n % 50}`,
    typeOf: (n) => types[Math.floor(n / 50) % types.length] ?? "",
    count: 20_000,
  });
  await queue.settleDown();
  return { queue, types };
}

function typeNames(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${benchType}-${index}`);
}

function figuresOf(subjects: readonly Subject[], timed: readonly ClaimTimes[]): Figure[] {
  return timed.flatMap((times, index) => toFigures(subjects[index]?.name ?? "", times));
}

/** The first two of several: what a claim is measured by, and what is measured. */
function firstTwo(timed: readonly ClaimTimes[]): [ClaimTimes, ClaimTimes] {
  const [base, other] = timed;
  if (base === undefined || other === undefined) throw new Error("There were no two queues.");
  return [base, other];
}

/** Claims from what is large, scheduled, mixed or unknown, each beside claims without it. */
export const backlogScenarios: readonly Scenario[] = [
  longBacklog,
  tomorrow,
  manyTypes,
  unknownType,
];
