import { randomUUID } from "node:crypto";

import { defined, describeMessage, resolveLogger, type Logger } from "@evenkeel/core";
import { eventContracts, scheduledEventSchema } from "@evenkeel/events";
import type { RunIdentity, RunStart, RunStore } from "@evenkeel/ledger";
import { Middleware, type Inngest } from "inngest";

import { LedgerCircuit } from "./ledger-circuit.ts";
import { isSkippedDuplicate } from "./run-outcome.ts";

/** What {@link createRunRecorder} works with. */
export interface RunRecorderOptions {
  readonly runs: RunStore;
  /** Names this host in the ledger, for people: hosts may share a name. */
  readonly owner: string;
  readonly logger: Logger;
  /** How often a request under way says that it is alive, in milliseconds; defaults to 10,000. */
  readonly heartbeatMs?: number;
  /** How long a statement may take before it counts as failed, in milliseconds; defaults to 2,000. */
  readonly timeoutMs?: number;
  /** How long the ledger is not asked after a failure, in milliseconds; defaults to 5,000. */
  readonly cooldownMs?: number;
}

/** A run under record: its identity and the fence that later writes must show. */
interface Recording extends RunIdentity {
  readonly attempt: number;
  readonly fence: string;
}

/**
 * Creates the middleware that records runs, attempts and heartbeats. One statement begins each request and
 * one ends the run. A ledger that is slow or unavailable costs at most one time-out per cooldown, and never the run.
 */
export function createRunRecorder(options: RunRecorderOptions): Middleware.Class {
  const { runs, owner, heartbeatMs = 10_000 } = options;
  const logger = resolveLogger(options.logger);
  const holder = randomUUID();
  const circuit = new LedgerCircuit({
    logger,
    timeoutMs: options.timeoutMs ?? 2_000,
    cooldownMs: options.cooldownMs ?? 5_000,
  });

  // The SDK makes one instance per request.
  return class RunRecorder extends Middleware.BaseMiddleware {
    readonly id = "evenkeel:runs";
    #recording: Recording | undefined;
    #heartbeat: NodeJS.Timeout | undefined;

    // Without it, types take the constructor of the class expression for one with no arguments.
    // oxlint-disable-next-line no-useless-constructor
    constructor(args: { client: Inngest.Any }) {
      super(args);
    }

    override async wrapRequest({ next }: Middleware.WrapRequestArgs): Promise<Middleware.Response> {
      try {
        return await next();
      } finally {
        clearInterval(this.#heartbeat);
      }
    }

    override async transformFunctionInput(
      input: Middleware.TransformFunctionInputArgs,
    ): Promise<Middleware.TransformFunctionInputArgs> {
      const { ctx, fn } = input;
      const { runId, attempt } = ctx;
      const functionId = fn.id(this.client.id);
      const begun = await circuit.attempt("begin", () =>
        runs.begin({ runId, functionId, owner, holder, attempt, ...describeEvent(ctx.event) }),
      );
      if (begun !== undefined) {
        const recording = { runId, functionId, attempt, fence: begun.fence };
        this.#recording = recording;
        this.#heartbeat = setInterval(() => {
          void circuit.attempt("heartbeat", () => runs.heartbeat(recording));
        }, heartbeatMs);
        this.#heartbeat.unref();
      }
      return input;
    }

    override async onStepError({ error }: Middleware.OnStepErrorArgs): Promise<void> {
      await this.#endAttempt(describeMessage(error));
    }

    override async onRunError({ error, isFinalAttempt }: Middleware.OnRunErrorArgs): Promise<void> {
      const message = describeMessage(error);
      if (!isFinalAttempt) return this.#endAttempt(message);
      await this.#record("finish", (run) =>
        runs.finish({ ...run, status: "FAILED", error: message }),
      );
    }

    override async onRunComplete({ output }: Middleware.OnRunCompleteArgs): Promise<void> {
      await this.#record("finish", (run) =>
        isSkippedDuplicate(output)
          ? runs.finish({ ...run, status: "SKIPPED_DUPLICATE", duplicateOf: output.duplicateOf })
          : runs.finish({ ...run, status: "SUCCEEDED", output }),
      );
    }

    async #endAttempt(error: string): Promise<void> {
      await this.#record("finishAttempt", (run) => runs.finishAttempt({ ...run, error }));
    }

    async #record(what: string, call: (run: Recording) => Promise<boolean>): Promise<void> {
      const recording = this.#recording;
      if (recording === undefined) return;
      const accepted = await circuit.attempt(what, () => call(recording));
      if (accepted === false) {
        const { runId, functionId } = recording;
        logger.warn("runs.write_refused", { during: what, runId, functionId });
      }
    }
  };
}

/** What a run's event says about it: a contract event, or one that names a window. */
function describeEvent(event: {
  readonly name: string;
  readonly id?: string | undefined;
  readonly data?: unknown;
}): Pick<RunStart, "eventName" | "eventId"> & Partial<RunStart> {
  const base = { eventName: event.name, ...defined({ eventId: event.id }) };
  // An event of the product's own may name a window as ours do: `guarded` works on it.
  const schema = eventContracts.get(event.name)?.schema ?? scheduledEventSchema;
  const parsed = schema.safeParse(event.data);
  if (!parsed.success) return base;
  const { data } = parsed;
  const { lane, tenantId, correlationId } = data;
  const { dispatchKey, continuation } = "dispatchKey" in data ? data : {};
  return { ...base, lane, ...defined({ dispatchKey, correlationId, continuation, tenantId }) };
}
