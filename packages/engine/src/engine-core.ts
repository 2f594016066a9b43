import { type AppRegistry, createAppRegistry } from "./app/app-registry.ts";
import type { App } from "./app/app.ts";
import type { FunctionConfig } from "./app/function-config.ts";
import { createAppCaller } from "./call/app-caller.ts";
import { createBackoff } from "./call/backoff.ts";
import { type EventLog, createEventLog } from "./event/event-log.ts";
import { type EngineEvent, type StoredEvent, internalEvents } from "./event/event.ts";
import { type Intake, createIntake } from "./event/intake.ts";
import { type Executor, createExecutor } from "./executor.ts";
import { type Faults, createFaults } from "./fault/faults.ts";
import { type Journal, createJournal } from "./journal.ts";
import type { Logger } from "./logger.ts";
import { createJobQueue } from "./queue/job-queue.ts";
import { type Finalizer, createFinalizer } from "./run/finalizer.ts";
import { type RunStore, createRunStore } from "./run/run-store.ts";
import type { Run } from "./run/run.ts";
import { type CronSchedule, createCronSchedule } from "./schedule/cron-schedule.ts";
import { type DecisionLog, createDecisionLog } from "./schedule/decision-log.ts";
import { type Scheduler, createScheduler } from "./schedule/scheduler.ts";
import { createSingletons } from "./schedule/singletons.ts";
import { createOpcodeHandler } from "./step/opcode-handler.ts";
import { createResponseHandler } from "./step/response-handler.ts";
import { createStepSettler } from "./step/step-settler.ts";
import { type WaitResolver, createWaitResolver } from "./step/wait-resolver.ts";
import { createWaitStore } from "./step/wait-store.ts";
import type { Clock } from "./time/clock.ts";
import { type Random, createIdSource } from "./time/random.ts";
import { type TimerQueue, createTimerQueue } from "./time/timer-queue.ts";
import type { Transport } from "./transport/transport.ts";

/** The engine's parts, put together. */
export interface EngineCore {
  readonly apps: AppRegistry;
  readonly log: EventLog;
  readonly decisions: DecisionLog;
  readonly intake: Intake;
  readonly runs: RunStore;
  readonly scheduler: Scheduler;
  readonly crons: CronSchedule;
  readonly executor: Executor;
  readonly finalizer: Finalizer;
  readonly waitResolver: WaitResolver;
  readonly timers: TimerQueue;
  readonly faults: Faults;
  readonly journal: Journal;
  readonly nextId: () => string;
  /** Forgets everything, as a server does that is killed and keeps nothing on disk. */
  forget(): void;
}

/** What the core needs from outside. */
export interface EngineCoreDeps {
  readonly clock: Clock;
  readonly machineNow: () => number;
  readonly random: Random;
  readonly logger: Logger;
  readonly transport: Transport;
  readonly fetch: typeof fetch;
  readonly signingKey: string | undefined;
  readonly maxCalls: number;
  readonly retryMs: number | undefined;
  readonly retention: { readonly runs: number; readonly events: number; readonly journal: number };
}

/** Puts the engine's parts together: events in, requests out, and time between. */
export function createEngineCore(deps: EngineCoreDeps): EngineCore {
  const { clock, random, retention, machineNow } = deps;
  const now = () => clock.now();
  const fromMachine = (timestampMs: number) => clock.adopt(timestampMs);
  const nextId = createIdSource({ now, random });
  const journal = createJournal({ logger: deps.logger, now, limit: retention.journal });
  const timers = createTimerQueue({ clock, onDue: () => executor.pump() });
  const faults = createFaults({ timers, now, random, journal });
  const runs = createRunStore(retention.runs);
  const isKept = (internalId: string) => log.find(internalId) !== undefined;
  const decisions = createDecisionLog({ journal, isKept });
  const onDrop = (internalId: string) => decisions.forget(internalId);
  const log = createEventLog({ limit: retention.events, onDrop });
  const waits = createWaitStore();
  const singletons = createSingletons();
  const queue = createJobQueue({ timers, now, onReady: oncePerTurn(() => executor.pump()) });
  const settler = createStepSettler({ queue });
  const publish = (event: EngineEvent) => void intake.publish(event);
  /** What most parts stand on. */
  const ground = { timers, journal, now, nextId, fromMachine, publish };
  const finalizer = createFinalizer({ ...ground, runs, onEnd });
  const waitResolver = createWaitResolver({ ...ground, waits, settler, finalizer });
  const stepParts = { queue, settler, finalizer, waitResolver };
  const opcodes = createOpcodeHandler({ ...ground, ...stepParts, waits, fetch: deps.fetch });
  const { transport, signingKey, maxCalls, retryMs } = deps;
  const backoff = createBackoff({ retryMs, random });
  const executor: Executor = createExecutor({
    ...ground,
    ...stepParts,
    caller: createAppCaller({ ...ground, transport, machineNow, signingKey }),
    responses: createResponseHandler({ ...ground, queue, opcodes, finalizer, backoff }),
    faults,
    maxCalls,
  });
  const apps = createAppRegistry({ onChange: (app: App) => crons.sync(app) });
  const scheduler = createScheduler({
    ...ground,
    ...stepParts,
    apps,
    runs,
    singletons,
    decisions,
  });
  const crons = createCronSchedule({ timers, now, random, start: startTick });
  const intake = createIntake({ ...ground, log, faults, deliver });

  /** Releases what an ended run holds. */
  function onEnd(run: Run): void {
    queue.releaseRun(run);
    waits.removeRun(run);
    singletons.release(run);
  }

  function deliver(stored: StoredEvent): void {
    scheduler.onEvent(stored);
    waitResolver.onEvent(stored);
  }

  function startTick(fn: FunctionConfig, cron: string): void {
    const id = nextId();
    const name = internalEvents.timer;
    const event: EngineEvent = { id, name, data: { cron }, ts: now(), user: {} };
    scheduler.onTick(fn, cron, log.add(event, id, now()));
  }

  return {
    apps,
    log,
    decisions,
    intake,
    runs,
    scheduler,
    crons,
    executor,
    finalizer,
    waitResolver,
    timers,
    faults,
    journal,
    nextId,
    forget() {
      executor.abandon();
      intake.clear();
      timers.clear();
      queue.clear();
      waits.clear();
      scheduler.clear();
      crons.clear();
      runs.clear();
      log.clear();
      decisions.clear();
      apps.clear();
    },
  };
}

/** A function that runs `work` once after all that is under way in this turn of the loop, however often it is called. */
function oncePerTurn(work: () => void): () => void {
  let isAsked = false;
  return () => {
    if (isAsked) return;
    isAsked = true;
    queueMicrotask(() => {
      isAsked = false;
      work();
    });
  };
}
