import { defined, resolveLogger, type Logger } from "@evenkeel/core";
import type { DeadLetterReason, Ledger } from "@evenkeel/ledger";
import type { Inngest, InngestFunction } from "inngest";
import { z } from "zod";

import { functionOptions, functionPolicies } from "./function-policy.ts";
import { boundStep, checkpointingOf } from "./host-timeout.ts";

/** What the dead-letter function works with. */
export interface DeadLetterFunctionOptions {
  readonly client: Inngest;
  readonly ledger: Pick<Ledger, "deadLetters" | "runs" | "asOperator">;
  /** When the host ends a request, in milliseconds: a step that is not over 3.5 s before is tried again. Absent: 60 s. */
  readonly hostTimeoutMs?: number;
  /** Where filed letters are logged; defaults to the console. */
  readonly logger?: Logger;
}

const policies = functionPolicies();
const deadLetterFunctionId = policies.deadLetters.id;

/** The data of `inngest/function.failed` and `inngest/function.cancelled`, as measured on both servers. */
const endSchema = z.object({
  function_id: z.string(),
  run_id: z.string(),
  error: z
    .object({ name: z.string().optional(), message: z.string().optional() })
    .nullish()
    .catch(undefined),
  event: z
    .object({
      name: z.string().optional(),
      id: z.string().optional(),
      data: z.record(z.string(), z.unknown()).optional().catch(undefined),
    })
    .nullish()
    .catch(undefined),
});

/** What a dead-letter run returns. */
export interface DeadLetterOutcome {
  readonly outcome: "filed" | "already_filed" | "ignored";
  readonly deadLetterId?: string;
}

/**
 * Creates the function that gives every failed or cancelled run of this app a place: it ends the run in the
 * ledger, whoever last wrote it, and files a dead letter with its event, its error and its attempts.
 */
export function createDeadLetterFunction(options: DeadLetterFunctionOptions): InngestFunction.Any {
  const { client, ledger, hostTimeoutMs } = options;
  const logger = resolveLogger(options.logger);
  const ownPrefix = `${client.id}-`;
  const ownId = `${ownPrefix}${deadLetterFunctionId}`;
  const condition = `event.data.function_id.startsWith(${JSON.stringify(ownPrefix)})`;
  return client.createFunction(
    {
      ...functionOptions(policies.deadLetters),
      name: "File dead letters",
      triggers: [
        { event: "inngest/function.failed", if: condition },
        { event: "inngest/function.cancelled", if: condition },
      ],
      ...checkpointingOf(hostTimeoutMs),
    },
    async ({ event, step }): Promise<DeadLetterOutcome> => {
      const end = endSchema.parse(event.data);
      if (!end.function_id.startsWith(ownPrefix) || end.function_id === ownId) {
        return { outcome: "ignored" };
      }
      const cancelled = event.name === "inngest/function.cancelled";
      if (cancelled && end.function_id === `${ownPrefix}${policies.isolatedJob.id}`) {
        // Nothing is lost: the job is delegated again, or its lease expires, and the ledger keeps how it ends.
        const run = { runId: end.run_id, functionId: end.function_id };
        await step.run("end", () =>
          boundStep(hostTimeoutMs, () => ledger.runs.finish({ ...run, status: "CANCELLED" })),
        );
        return { outcome: "ignored" };
      }
      const letter = await step.run("file", () =>
        boundStep(hostTimeoutMs, async () => {
          const { run_id: runId, function_id: functionId } = end;
          const error =
            end.error?.message ?? (cancelled ? "The run was cancelled." : "The run failed.");
          await ledger.runs.finish({
            runId,
            functionId,
            status: cancelled ? "CANCELLED" : "FAILED",
            error,
          });
          const run = await ledger
            .asOperator(deadLetterFunctionId)
            .runs.find({ runId, functionId });
          const previousId = redrivenFrom(end.event);
          return ledger.deadLetters.file({
            kind: "RUN",
            sourceId: runId,
            name: functionId,
            reason: cancelled ? "cancelled" : reasonOf(end.error?.name),
            error,
            payload: end.event ?? null,
            history: run?.attempts ?? [],
            ...defined({ tenantId: run?.tenantId ?? undefined, previousId }),
          });
        }),
      );
      logger.warn("runs.dead", {
        runId: end.run_id,
        functionId: end.function_id,
        deadLetterId: letter.id,
      });
      return { outcome: letter.created ? "filed" : "already_filed", deadLetterId: letter.id };
    },
  );
}

/** The letter that a redrive's event names at the end of its id. */
function redrivenFrom(event: unknown): string | undefined {
  const id = typeof event === "object" && event !== null && "id" in event ? String(event.id) : "";
  return /:d:([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})(?::c\d+)?$/u.exec(id)?.[1];
}

/** The reason class of a failed run, by its error's name. */
function reasonOf(errorName: string | undefined): DeadLetterReason {
  if (errorName === "EventValidationError" || errorName === "InputError") return "schema";
  return errorName === "NonRetriableError" ? "terminal" : "exhausted";
}
