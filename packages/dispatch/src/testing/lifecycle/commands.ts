import fc from "fast-check";

import {
  crashPoints,
  repairPoints,
  runPoints,
  tickPoints,
  type CrashPoint,
} from "./crash-points.ts";
import { settings } from "./settings.ts";
import type { JobManner } from "./worker.ts";
import type { World } from "./world.ts";

type Command = fc.AsyncCommand<World, World>;

/** A command that ends by comparing the tables with the model. */
function command(
  name: string,
  act: (world: World) => Promise<void>,
  check: (world: World) => boolean = () => true,
): Command {
  return {
    check,
    run: async (_model, world) => {
      await act(world);
      await world.compare();
    },
    toString: () => name,
  };
}

function describe(what: string, diesAt: CrashPoint | undefined): string {
  return diesAt === undefined ? what : `${what}, dies at ${crashPoints[diesAt]} (${diesAt})`;
}

/** Nowhere, or one of the points: lives as often as it dies. */
function deathAt(points: readonly CrashPoint[]): fc.Arbitrary<CrashPoint | undefined> {
  return fc.oneof(fc.constant(undefined), fc.constantFrom(...points));
}

function tickCommand(
  window: number,
  isUnavailable: boolean,
  diesAt: CrashPoint | undefined,
): Command {
  return command(
    describe(`tick of window ${window}${isUnavailable ? ", send fails" : ""}`, diesAt),
    async (world) => {
      world.inngest.isUnavailable = isUnavailable;
      await world.tick(world.scheduledAt(window), diesAt);
      world.inngest.isUnavailable = false;
    },
    // The cron handler refuses a tick that comes later.
    (world) => world.clock.now() - world.scheduledAt(window) < settings.latenessMs,
  );
}

function runCommand(event: number, nth: number, diesAt: CrashPoint | undefined): Command {
  return command(
    describe(`run ${nth} of event ${event}`, diesAt),
    (world) => {
      const events = world.inngest.recent();
      return world.work(events[event % events.length]!, nth, diesAt);
    },
    (world) => world.inngest.recent().length > 0,
  );
}

function failureCommand(place: number): Command {
  return command(
    `Inngest gives up run ${place}`,
    (world) => {
      const runs = unfinishedRuns(world);
      return world.failRun(runs[place % runs.length]!);
    },
    (world) => unfinishedRuns(world).length > 0,
  );
}

function unfinishedRuns({ model }: World): string[] {
  return (
    [...model.runs]
      // One that has failed may be reported again.
      .filter(([, { status }]) => status !== "SUCCEEDED" && status !== "SKIPPED_DUPLICATE")
      .map(([runId]) => runId)
  );
}

function clockCommand(name: keyof typeof settings.moves): Command {
  return command(`the clock moves by ${name}`, (world) =>
    world.clock.advance(settings.moves[name]),
  );
}

function reconcileCommand(isUnavailable: boolean, diesAt: CrashPoint | undefined): Command {
  return command(
    describe(`reconcile${isUnavailable ? ", send fails" : ""}`, diesAt),
    async (world) => {
      world.inngest.isUnavailable = isUnavailable;
      await world.reconcile(diesAt);
      world.inngest.isUnavailable = false;
    },
  );
}

function redriveCommand(diesAt: CrashPoint | undefined): Command {
  return command(describe("redrive", diesAt), (world) => world.redrive(diesAt));
}

function dueTickCommand(isUnavailable: boolean, diesAt: CrashPoint | undefined): Command {
  return command(
    describe(`tick of now that sends what is due${isUnavailable ? ", send fails" : ""}`, diesAt),
    async (world) => {
      world.inngest.isUnavailable = isUnavailable;
      await world.tickIfDue(diesAt);
      world.inngest.isUnavailable = false;
    },
  );
}

/** A tick as the cron route makes it: it sends what is due, and nothing where nothing is. */
const dueTick = fc
  .record({ isUnavailable: fc.boolean(), diesAt: deathAt(tickPoints) })
  .map(({ isUnavailable, diesAt }) => dueTickCommand(isUnavailable, diesAt));

const tick = fc
  .record({
    window: fc.nat({ max: 2 }),
    isUnavailable: fc.boolean(),
    diesAt: deathAt(tickPoints),
  })
  .map(({ window, isUnavailable, diesAt }) => tickCommand(window, isUnavailable, diesAt));

function jobCommand(manner: JobManner, isCommitted: boolean, delayMs: number): Command {
  const later = delayMs > 0 ? ", due later" : "";
  return command(
    `enqueue one that ${manner}${later}${isCommitted ? "" : ", rolled back"}`,
    (world) => world.enqueue(manner, isCommitted, delayMs),
  );
}

const delay = fc.constantFrom(0, 0, settings.laterMs);

const job = fc
  .record({
    manner: fc.constantFrom("succeeds", "fails once", "is hopeless", "has one attempt"),
    isCommitted: fc.boolean(),
    delayMs: delay,
  })
  .map(({ manner, isCommitted, delayMs }) => jobCommand(manner, isCommitted, delayMs));

const enqueueUnderKey = command(
  "enqueue under the key, in a transaction that stays open",
  (world) => world.enqueueUnderKey(),
  (world) => !world.hasOpenTransaction(),
);

function endCommand(isCommitted: boolean): Command {
  return command(
    `the open transaction ${isCommitted ? "is committed" : "is rolled back"}`,
    (world) => world.endTransaction(isCommitted),
    (world) => world.hasOpenTransaction(),
  );
}

/** An enqueue under a unique key, or the end of the transaction that it is in. */
const keyed = fc.oneof(
  fc.constant(enqueueUnderKey),
  fc.boolean().map((isCommitted) => endCommand(isCommitted)),
);

function cancelCommand(place: number): Command {
  return command(
    `cancel job ${place}`,
    (world) => {
      const jobs = world.cancellable();
      return world.cancel(jobs[place % jobs.length]!);
    },
    (world) => world.cancellable().length > 0,
  );
}

const cancellation = fc.nat({ max: 4 }).map(cancelCommand);

/** A job of one attempt. */
const single = delay.map((delayMs) => jobCommand("has one attempt", true, delayMs));

const run = fc
  .record({ event: fc.nat({ max: 4 }), nth: fc.constantFrom(1, 1, 2), diesAt: deathAt(runPoints) })
  .map(({ event, nth, diesAt }) => runCommand(event, nth, diesAt));

const failure = fc.nat({ max: 4 }).map(failureCommand);

const clockMove = fc
  .constantFrom("35 s", "3 min", "21 min", "5 h", "49 h")
  .map((name) => clockCommand(name));

const reconciliation = fc
  .record({ isUnavailable: fc.boolean(), diesAt: deathAt(repairPoints) })
  .map(({ isUnavailable, diesAt }) => reconcileCommand(isUnavailable, diesAt));

const comingBack = fc.constant(
  command(
    "a frozen host comes back",
    (world) => world.comeBack(),
    (world) => world.hasFrozenHost(),
  ),
);

const redrive = deathAt(["lettersRequeued"]).map(redriveCommand);

const relay = fc.constant(command("relay", (world) => world.relay()));

const prune = deathAt(["rowsPruned"]).map((diesAt) =>
  command(describe("prune", diesAt), (world) => world.prune(diesAt)),
);

const tickOf = (diesAt: fc.Arbitrary<CrashPoint | undefined>): fc.Arbitrary<Command> =>
  diesAt.map((point) => tickCommand(0, false, point));
const runOf = (
  event: number,
  diesAt: fc.Arbitrary<CrashPoint | undefined>,
): fc.Arbitrary<Command> => diesAt.map((point) => runCommand(event, 1, point));
const moveBy = (name: keyof typeof settings.moves): fc.Arbitrary<Command> =>
  fc.constant(clockCommand(name));
const lives = fc.constant(undefined);
const reconciles = fc.constant(reconcileCommand(false, undefined));
const fails = fc.constant(failureCommand(0));
const redrives = fc.constant(redriveCommand(undefined));
const nobodyStarts = [moveBy("3 min"), reconciles];

/** Openings that chance alone would seldom find: what follows each of them is where promises are at stake. */
const openings: readonly fc.Arbitrary<readonly Command[]>[] = [
  fc.constant([]),
  // A host dies in its tick; another takes the window over, and the first may come back.
  fc.tuple(tickOf(fc.constantFrom(...tickPoints)), moveBy("35 s"), reconciliation, comingBack),
  // A worker dies; it is taken for dead, and its window is sent again.
  fc.tuple(
    job,
    tickOf(lives),
    runOf(0, fc.constantFrom(...runPoints)),
    moveBy("21 min"),
    reconciles,
    runOf(1, deathAt(runPoints)),
    comingBack,
  ),
  // As before, with nobody to take the window over.
  fc.tuple(
    tickOf(lives),
    runOf(0, fc.constantFrom(...runPoints)),
    moveBy("21 min"),
    reconciles,
    moveBy("49 h"),
    prune,
    prune,
    prune,
  ),
  // A worker dies with jobs in hand, and the next tick's run takes them.
  fc.tuple(
    job,
    job,
    tickOf(lives),
    fc.constant(tickCommand(1, false, undefined)),
    runOf(0, fc.constantFrom("jobsClaimed", "jobsStarted", "effectsDone")),
    moveBy("35 s"),
    runOf(1, deathAt(runPoints)),
    comingBack,
  ),
  // A worker dies with jobs of one attempt in hand, more than it has slots: some have started, and some were only held.
  fc.tuple(
    ...Array.from({ length: settings.slots + 1 }, () => single),
    tickOf(lives),
    fc.constant(tickCommand(1, false, undefined)),
    runOf(0, fc.constantFrom("jobsClaimed", "jobsStarted", "effectsDone")),
    moveBy("35 s"),
    runOf(1, deathAt(runPoints)),
    comingBack,
    redrive,
  ),
  // A job is cancelled while its worker runs it, or has only claimed it, and the worker comes back.
  fc.tuple(
    job,
    tickOf(lives),
    fc.constant(tickCommand(1, false, undefined)),
    runOf(0, fc.constantFrom("jobsClaimed", "jobsStarted", "effectsDone", "jobsSettled")),
    fc.constantFrom(cancelCommand(0), clockCommand("35 s")),
    fc.constant(cancelCommand(0)),
    comingBack,
    runOf(1, deathAt(runPoints)),
  ),
  // An enqueue meets a job that waits, or that a worker holds, in a transaction that ends later than the worker comes.
  fc.tuple(
    fc.constant(enqueueUnderKey),
    fc.constant(endCommand(true)),
    tickOf(lives),
    fc.constant(tickCommand(1, false, undefined)),
    fc.constantFrom(clockCommand("35 s"), runCommand(0, 1, "jobsStarted")),
    fc.constant(enqueueUnderKey),
    runOf(1, deathAt(runPoints)),
    fc.boolean().map((isCommitted) => endCommand(isCommitted)),
    comingBack,
  ),
  // What is due later is left alone, and claimed once it is due.
  fc.tuple(
    fc.constant(jobCommand("succeeds", true, settings.laterMs)),
    job,
    tickOf(lives),
    fc.constant(tickCommand(1, false, undefined)),
    runOf(0, lives),
    moveBy("21 min"),
    runOf(1, deathAt(runPoints)),
    comingBack,
  ),
  // A run is given up, and requeued.
  fc.tuple(
    tickOf(lives),
    runOf(0, fc.constantFrom(...runPoints)),
    fails,
    redrives,
    relay,
    runOf(1, deathAt(runPoints)),
    comingBack,
  ),
  // A window is sent, and sent again, and never starts, while a later one is done.
  fc.tuple(
    tickOf(lives),
    runOf(0, lives),
    fc.constant(tickCommand(1, false, undefined)),
    ...nobodyStarts,
    ...nobodyStarts,
    ...Array.from({ length: 5 }, () => [moveBy("5 h"), reconciles]).flat(),
    moveBy("49 h"),
    prune,
    redrive,
    reconciles,
  ),
  // A second run of a window that is done.
  fc.tuple(
    tickOf(lives),
    runOf(0, lives),
    fc.constantFrom(...runPoints).map((diesAt) => runCommand(0, 2, diesAt)),
    reconciles,
    comingBack,
  ),
  // A send fails until the window is too old.
  fc.tuple(
    fc.constant(tickCommand(0, true, undefined)),
    moveBy("49 h"),
    reconciles,
    prune,
    redrive,
    reconciliation,
    moveBy("49 h"),
    reconciles,
  ),
  // All went well, and everything is old.
  fc.tuple(
    job,
    tickOf(lives),
    runOf(0, lives),
    redrive,
    fc.constant(clockCommand("49 h")),
    prune,
    prune,
    prune,
  ),
];

/** A sequence: an opening, and then everything that can happen to windows, runs and jobs. */
export const lifecycleSequences: fc.Arbitrary<[readonly Command[], Iterable<Command>]> = fc.tuple(
  fc.oneof(...openings),
  fc.commands(
    [
      tick,
      tick,
      dueTick,
      dueTick,
      job,
      run,
      run,
      run,
      clockMove,
      clockMove,
      reconciliation,
      comingBack,
      failure,
      redrive,
      relay,
      prune,
      keyed,
      cancellation,
    ],
    { maxCommands: 16, size: "max" },
  ),
);
