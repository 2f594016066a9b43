import { describeIssues, type Logger } from "@evenkeel/core";
import type { TransactionClient } from "@evenkeel/ledger";
import type { z } from "zod";

import { JobError } from "../job-error.ts";
import { traitsOf, type JobDefinition } from "./job-definition.ts";
import type { JobEffects } from "./job-effects.ts";
import { readStoredForm } from "./stored-form.ts";
import { upcastPayload } from "./upcast.ts";

/** What a handler is given beside its payload. */
export interface AttemptContext {
  /** The job's id in the ledger. */
  readonly id: string;
  readonly tenantId: string;
  /** 1 for the first attempt. */
  readonly attempt: number;
  readonly maxAttempts: number;
  /** Follows the work that this job is part of, when it was enqueued with one. */
  readonly correlationId: string | undefined;
  /**
   * Fires when the attempt should end: its time-out passed, its lease was lost, its job was cancelled, or the drain was
   * aborted.
   * `reason` is a `JobError` that says which. Pass it on to whatever the handler awaits.
   */
  readonly signal: AbortSignal;
  /**
   * Settles the job as succeeded inside the caller's own transaction: what the handler wrote there and the
   * settlement commit together, or neither does. The last thing to do in it; then let the handler return. A
   * transaction that is rolled back, or in which this fails, leaves the attempt failed, to be tried again.
   *
   * @param tx The transaction's client: Prisma's `tx`, or a `pg` client between BEGIN and COMMIT.
   * @param result Kept in the job's history, as a returned value is.
   * @throws JobError `lease_lost` when the job is no longer held, `cancelled` when it was cancelled: let it roll the
   * transaction back.
   */
  readonly completeIn: (tx: TransactionClient, result?: unknown) => Promise<void>;
  /** Calls to the outside world that are not to be made twice. */
  readonly effects: JobEffects;
  /**
   * Says how far it is, for `jobs.find` and `jobs.explain`. Written at most once a second, and forgotten when the
   * job is claimed again. Not awaited; what cannot be written never fails the job.
   *
   * @throws JobError `invalid_options` unless `0 <= done <= total`.
   */
  readonly progress: (done: number, total: number) => void;
  /** The runner's logger, with the job's id, type, tenant and attempt in every event. */
  readonly logger: Logger;
}

/** What a handler is given. */
export interface JobContext<Payload, Result = unknown> extends Omit<AttemptContext, "completeIn"> {
  readonly payload: Payload;
  /** Settles the job as succeeded inside the caller's own transaction, with a result as the definition has it. */
  readonly completeIn: (tx: TransactionClient, result?: Result) => Promise<void>;
}

/** The outcome of {@link JobHandler.prepare}. */
export type PreparedAttempt =
  | {
      readonly ok: true;
      /** The payload as it would be stored today: upcast, and less what the schema does not let through. */
      readonly stored: unknown;
      run(context: AttemptContext): Promise<unknown>;
    }
  /** One line per problem, without values. */
  | { readonly ok: false; readonly issues: readonly string[] };

/** A definition with the code that runs it, as the runner takes it. Made by {@link handleJob}. */
export interface JobHandler {
  readonly definition: Pick<
    JobDefinition,
    "type" | "version" | "retry" | "timeoutMs" | "isRetryable" | "maxCrashes" | "isolated"
  >;
  /**
   * Brings a stored payload to the definition's version, parses it and binds it to the handler.
   *
   * @param version The version that it was stored with, the definition's own if absent.
   */
  prepare(payload: unknown, version?: number): PreparedAttempt;
}

/**
 * Binds a definition to the code that runs it. What it returns, as the definition's `result` lets it through, is kept
 * in the job's history if it is JSON of at most 64 KiB; otherwise it is dropped and the job has succeeded all the same.
 *
 * A job can run more than once (a worker may die before it settles): let its effects be idempotent, or
 * write them under a unique constraint.
 *
 * @example
 * const sendReplies = handleJob(sendReply, async ({ payload, signal }) => {
 *   await mailer.send(payload.draftId, { signal });
 * });
 */
export function handleJob<Schema extends z.ZodType, Result extends z.ZodType = z.ZodType>(
  definition: JobDefinition<Schema, Result>,
  run: (context: JobContext<z.output<Schema>, z.input<Result>>) => Promise<z.input<Result>>,
): JobHandler {
  // From JavaScript, or from modules that import each other, either may be missing.
  const given: unknown = definition;
  if (typeof given !== "object" || given === null || typeof run !== "function") {
    throw new JobError(
      "invalid_options",
      "handleJob takes the definition of a job, as defineJob returns it, and the function that does its work. If one is undefined, modules may import each other in a circle.",
      { field: typeof run === "function" ? "definition" : "run" },
    );
  }
  return {
    definition,
    prepare: (older, version = definition.version) => {
      const upcast = upcastPayload(definition, older, version);
      if ("issue" in upcast) return { ok: false, issues: [upcast.issue] };
      const { stored } = upcast;
      const parsed = definition.payload.safeParse(stored);
      if (!parsed.success) return { ok: false, issues: describeIssues(parsed.error) };
      const payload = parsed.data;
      return {
        ok: true,
        get stored() {
          // Asked for when a dead letter is requeued, and not by an attempt.
          const { payload: schema, type } = definition;
          const form = readStoredForm(schema, traitsOf(schema, type, "payload"), stored);
          return form.ok ? form.stored : stored;
        },
        run: async (context) => {
          const keep = (result: unknown): unknown => readKeptResult(definition, result, context);
          const { completeIn } = context;
          const result = await run({
            ...context,
            payload,
            completeIn: (tx, given) => completeIn(tx, keep(given)),
          });
          return keep(result);
        },
      };
    },
  };
}

/** What the definition's `result` lets through of a result. What it refuses is dropped and logged, without values. */
function readKeptResult(
  { type, result: schema }: Pick<JobDefinition, "type" | "result">,
  result: unknown,
  { logger }: Pick<AttemptContext, "logger">,
): unknown {
  if (schema === undefined || result === undefined || result === null) return result;
  try {
    const text: string | undefined = JSON.stringify(result);
    if (text === undefined) return undefined;
    const form = readStoredForm(schema, traitsOf(schema, type, "result"), JSON.parse(text));
    if (form.ok) return form.stored;
    const issues = form.error === undefined ? [] : describeIssues(form.error);
    logger.warn("job.result_dropped", { issues });
  } catch {
    logger.warn("job.result_dropped", { issues: ["it has no JSON form"] });
  }
  return undefined;
}
