import {
  defined,
  describeIssues,
  resolveLogger,
  type JsonValue,
  type Lane,
  type Logger,
} from "@evenkeel/core";
import { scheduledEventSchema, processRequested } from "@evenkeel/events";
import type { Ledger } from "@evenkeel/ledger";
import { NonRetriableError, type GetStepTools, type Inngest, type InngestFunction } from "inngest";

import { fillRecord } from "./process-function.ts";
import { skippedDuplicate, type SkippedDuplicate } from "./runs/run-outcome.ts";

/** What starts a guarded function. */
export type GuardedTrigger =
  | {
      /** The id of a schedule: each of its windows starts one run. */
      readonly schedule: string;
    }
  | {
      /** The name of an event of the product's own whose data holds what a dispatch event does. */
      readonly event: string;
    };

/** What {@link guarded} works with, beside what `createFunction` takes. */
export type GuardedOptions = GuardedTrigger &
  Pick<
    InngestFunction.Options,
    | "name"
    | "description"
    | "concurrency"
    | "throttle"
    | "rateLimit"
    | "priority"
    | "timeouts"
    | "retries"
  > & {
    /** The function's id within its app. */
    readonly id: string;
    /** Holds the guards. The client's own ledger, which records the runs. */
    readonly ledger: Pick<Ledger, "guards" | "windows">;
    /** Where runs are logged that another holds the window of; defaults to the console. */
    readonly logger?: Logger;
  };

/** The window that a run works on. */
export interface GuardedWindow {
  readonly dispatchKey: string;
  readonly schedule: string;
  readonly start: Date;
  readonly seconds: number;
  readonly lane: Lane;
  readonly correlationId: string;
  /** Present when the schedule is dispatched per tenant. */
  readonly tenantId?: string;
  /** The parameters that are part of the dispatch key. */
  readonly params?: Readonly<Record<string, JsonValue>>;
}

/** The SDK's steps that a guarded function may take. A run that waits is silent, and would be replaced. */
export type GuardedSteps = Pick<GetStepTools<Inngest>, "run" | "sendEvent">;

/** What a guarded function is given. */
export interface GuardedContext {
  readonly window: GuardedWindow;
  readonly step: GuardedSteps;
  /** The event as it was sent. */
  readonly event: { readonly name: string; readonly id?: string; readonly data: unknown };
  /** Inngest's run id. */
  readonly runId: string;
}

/**
 * Creates a function of the product's own that a window starts, with the promises of ours. One run a window does the
 * work, however often it is sent and however long ago the first was: a second one ends as `skipped_duplicate`. A run
 * whose host died is continued by Inngest under a new fence. One that is silent for 20 minutes is replaced by another
 * run, and should it come back, its next step finds the guard taken and it ends as a duplicate too. A run that failed
 * gives way to one that is sent later.
 *
 * The guard is taken before the handler begins, and by each of its steps: what has an effect belongs into a step.
 * `createBackgroundClient` gives the client that records the runs.
 *
 * @example
 * const digest = guarded(
 *   client,
 *   { ledger, id: "send-digests", schedule: "nightly" },
 *   async ({ window, step }) => step.run("send", () => sendDigests(window.start)),
 * );
 */
export function guarded(
  client: Inngest,
  options: GuardedOptions,
  handler: (context: GuardedContext) => Promise<unknown>,
): InngestFunction.Any {
  const { id, ledger, logger: given, ...rest } = options;
  const logger = resolveLogger(given);
  const { trigger, settings } = readTrigger(rest);
  const functionId = `${client.id}-${id}`;
  return client.createFunction(
    { ...settings, id, idempotency: "event.id", triggers: [trigger] },
    async ({ event, step, runId }): Promise<unknown> => {
      const data = readData(event);
      const { dispatchKey } = data;
      const take = (): ReturnType<typeof ledger.guards.take> =>
        ledger.guards.take({ functionId, dispatchKey, continuation: 0, runId });
      const skip = (holder: string): SkippedDuplicate => {
        logger.info("guarded.skipped", { functionId, dispatchKey, runId, duplicateOf: holder });
        return skippedDuplicate(holder);
      };
      const guard = await step.run("take-guard", async () => {
        const taken = await take();
        if (taken.outcome === "taken") await fillRecord(ledger, data, id);
        return taken;
      });
      if (guard.outcome === "held") return skip(guard.runId);
      try {
        return await handler({
          window: toWindow(data),
          step: guardSteps(step, take),
          event: { name: event.name, data: event.data, ...defined({ id: event.id }) },
          runId,
        });
      } catch (error) {
        if (error instanceof ReplacedError) return skip(error.holder);
        throw error;
      }
    },
  );
}

/** Thrown at a step whose run has been replaced, so that nothing behind it happens. */
class ReplacedError extends Error {
  override readonly name = "ReplacedError";
  readonly holder: string;

  constructor(holder: string) {
    super(`The run ${holder} holds this window now.`);
    this.holder = holder;
  }
}

function guardSteps(
  step: GetStepTools<Inngest>,
  take: () => ReturnType<Ledger["guards"]["take"]>,
): GuardedSteps {
  const run = async (
    idOrOptions: Parameters<GuardedSteps["run"]>[0],
    work: (...input: unknown[]) => unknown,
    ...input: unknown[]
  ): Promise<unknown> => {
    const answer = await step.run(
      idOrOptions,
      async (...values: unknown[]): Promise<StepAnswer> => {
        const held = await take();
        if (held.outcome === "held") return { replacedBy: held.runId };
        return { done: await work(...values) };
      },
      ...input,
    );
    if ("replacedBy" in answer) throw new ReplacedError(answer.replacedBy);
    return answer.done;
  };
  const sendEvent: GuardedSteps["sendEvent"] = async (idOrOptions, payload) => {
    const name = typeof idOrOptions === "string" ? idOrOptions : idOrOptions.id;
    // Nothing is sent by a run that has been replaced.
    await run(`${name}-guard`, () => undefined);
    return step.sendEvent(idOrOptions, payload);
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it passes on what the SDK's own run returns
  return { run: run as GuardedSteps["run"], sendEvent };
}

type StepAnswer = { readonly replacedBy: string } | { readonly done?: unknown };

interface EventTrigger {
  readonly event: string;
  readonly if?: string;
}

function readTrigger<Settings extends object>(
  given: GuardedTrigger & Settings,
): { readonly trigger: EventTrigger; readonly settings: object } {
  if ("event" in given) {
    const { event, ...settings } = given;
    return { trigger: { event }, settings };
  }
  const { schedule, ...settings } = given;
  // A continuation and a nudge ask for the queue to be drained: no tick stands behind them.
  const condition = `event.data.schedule == ${JSON.stringify(schedule)} && event.data.source != "continuation" && event.data.source != "nudge"`;
  return { trigger: { event: processRequested.name, if: condition }, settings };
}

/** @throws NonRetriableError when the event names no window: it will not name one at the next try. */
function readData(event: { readonly name: string; readonly data?: unknown }): DispatchData {
  const parsed = scheduledEventSchema.safeParse(event.data);
  if (parsed.success) return parsed.data;
  const issues = describeIssues(parsed.error).join("; ");
  throw new NonRetriableError(
    `The event ${event.name} names no window that a dispatcher sent: ${issues}`,
  );
}

type DispatchData = ReturnType<typeof scheduledEventSchema.parse>;

function toWindow(data: DispatchData): GuardedWindow {
  const { dispatchKey, schedule, lane, correlationId, tenantId, params } = data;
  return {
    dispatchKey,
    schedule,
    start: new Date(data.dispatchWindowStart),
    seconds: data.dispatchWindowSeconds,
    lane,
    correlationId,
    ...defined({ tenantId, params }),
  };
}
