import { z } from "zod";

import { eventMap } from "../event/event.ts";
import { type Expression, ExpressionError, compileExpression } from "../expression/expression.ts";
import { accountId, deterministicUuid, environmentId } from "../identity.ts";
import { parseJson } from "../json.ts";
import { isEnded } from "../run/run.ts";
import { respondData, respondError } from "./json-response.ts";
import type { RunsApiDeps } from "./runs-api.ts";

const bodySchema = z.object({
  app_id: z.string().default(""),
  function_id: z.string().default(""),
  started_after: z.string().nullish(),
  started_before: z.string().default(""),
  if: z.string().nullish(),
});

/** Clock skew that the server grants a sender, in milliseconds. */
const skewMs = 5_000;

/** A bulk cancellation as the API returns it. */
export type Cancellation = Readonly<Record<string, unknown>> & { readonly id: string };

/** The bulk cancellations asked for, newest last. */
export interface Cancellations {
  /** Serves `POST /v1/cancellations`: cancels the runs of a function that were queued in a time. */
  create(text: string): Response;
  list(): Response;
  /** Serves `DELETE /v1/cancellations/:id`. Runs already cancelled stay so. */
  remove(id: string): Response;
}

/** Creates {@link Cancellations}. */
export function createCancellations(deps: RunsApiDeps & { nextId: () => string }): Cancellations {
  const { apps, runs, finalizer, now } = deps;
  const known = new Map<string, Cancellation>();

  return {
    create(text) {
      const parsed = bodySchema.safeParse(parseJson(text));
      if (!parsed.success) return respondError(400, "Invalid cancellation request");
      const body = parsed.data;
      const beforeMs = Date.parse(body.started_before);
      const afterMs = body.started_after ? Date.parse(body.started_after) : undefined;
      const problems = [
        body.app_id === "" ? "app_id is required" : "",
        body.function_id === "" ? "function_id is required" : "",
        Number.isNaN(beforeMs) ? "started_before is required" : "",
        beforeMs > now() + skewMs ? "started_before must be in the past" : "",
        afterMs !== undefined && afterMs > beforeMs
          ? "started_after must be before started_before"
          : "",
      ].filter((problem) => problem !== "");
      if (problems.length > 0) return respondError(400, problems.join("\n"));
      // The development server takes the full id, Inngest Cloud the id within the app.
      const fn =
        apps.findFunction(`${body.app_id}-${body.function_id}`) ??
        apps.findFunction(body.function_id);
      if (fn === undefined) return respondError(404, "function not found");
      let condition: Expression | undefined;
      try {
        condition = body.if ? compileExpression(body.if) : undefined;
      } catch (error) {
        if (!(error instanceof ExpressionError)) throw error;
        return respondError(400, `invalid expression: ${error.message}`);
      }
      const cancellation: Cancellation = {
        created_at: new Date(now()).toISOString(),
        name: null,
        id: deps.nextId(),
        account_id: accountId,
        environment_id: environmentId,
        app_id: deterministicUuid(fn.appName),
        function_internal_id: fn.id,
        function_id: fn.slug,
        started_after: body.started_after ?? null,
        started_before: body.started_before,
        ...(body.if ? { if: body.if } : {}),
      };
      known.set(cancellation.id, cancellation);
      for (const run of runs.all()) {
        if (run.fn.slug !== fn.slug || isEnded(run) || run.queuedAtMs > beforeMs) continue;
        if (afterMs !== undefined && run.queuedAtMs < afterMs) continue;
        const trigger = run.events[0];
        const event = trigger === undefined ? {} : eventMap(trigger.event);
        if (condition !== undefined && !condition.isTrue({ event })) continue;
        finalizer.finalize(run, {
          status: "Cancelled",
          reason: `bulk cancellation ${cancellation.id}`,
        });
      }
      return respondData(cancellation, now());
    },
    list: () => respondData([...known.values()], now()),
    remove: (id) =>
      known.delete(id)
        ? respondData({ ok: true }, now())
        : respondError(404, "Cancellation not found"),
  };
}
