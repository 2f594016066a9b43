import { describeIssues } from "@evenkeel/core";
import type { z } from "zod";

import type { JobDefinition } from "./job-definition.ts";

/**
 * An upcast between two versions whose schemas are at hand: what it is given is parsed with `from`, and what it
 * returns is typed by `to`.
 *
 * @param versions `from` is the schema of the older version; `to`, if given, that of the next.
 * @returns A function for `upcast` of `defineJob`. A payload that `from` refuses ends as `schema` in the dead letters.
 *
 * @example upcast: { 1: upcaster({ from: v1, to: v2 }, (old) => ({ ...old, currency: "EUR" })) }
 */
export function upcaster<From extends z.ZodType, To extends z.ZodType = z.ZodType>(
  { from }: { readonly from: From; readonly to?: To },
  step: (old: z.output<From>) => z.input<To>,
): (payload: unknown) => z.input<To> {
  return (payload) => step(from.parse(payload));
}

/** A payload of an older version as the definition's version has it, through JSON as if it had been stored. */
export function upcastPayload(
  definition: Pick<JobDefinition, "upcast" | "version">,
  payload: unknown,
  from: number,
): { readonly stored: unknown } | { readonly issue: string } {
  let stored = payload;
  for (let version = from; version < definition.version; version += 1) {
    const step = definition.upcast[version];
    if (step === undefined) continue;
    try {
      stored = JSON.parse(JSON.stringify(step(stored)));
    } catch (error) {
      return { issue: `the upcast from version ${version} failed with ${describeFailure(error)}` };
    }
  }
  return { stored };
}

/** A parser's message may quote the payload; the issues of a schema do not. */
function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return "a thrown value";
  return isSchemaError(error) ? `${error.name}: ${describeIssues(error).join("; ")}` : error.name;
}

function isSchemaError(error: Error): error is z.ZodError {
  return error.name === "ZodError" && "issues" in error && Array.isArray(error.issues);
}
