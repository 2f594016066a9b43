import { describeIssues } from "@evenkeel/core";
import type { JobRecord } from "@evenkeel/ledger";
import type { z } from "zod";

import { JobError } from "../job-error.ts";
import type { JobDefinition } from "./job-definition.ts";

/**
 * The result of a job that succeeded, as its definition's `result` schema has it; as it was stored where there is
 * no schema. `undefined`: none was kept.
 *
 * @param record Of the ledger's scoped `jobs.find` or `jobs.list`.
 * @throws JobError `invalid_result` when the record is of another type, has not succeeded, or does not match the
 * schema.
 *
 * @example
 * const record = await ledger.forTenant(tenantId).jobs.find(id);
 * if (record?.status === "SUCCEEDED") console.log(parseResult(countWords, record)?.words);
 */
export function parseResult<Schema extends z.ZodType, Result extends z.ZodType>(
  definition: JobDefinition<Schema, Result>,
  record: Pick<JobRecord, "id" | "type" | "status" | "result">,
): z.output<Result> | undefined {
  const { type } = definition;
  if (record.type !== type) {
    throw invalid(record.id, type, `is of type ${record.type} and not ${type}`);
  }
  if (record.status !== "SUCCEEDED") {
    throw invalid(record.id, type, `has not succeeded: it is ${record.status}`);
  }
  if (record.result === null) return undefined;
  if (definition.result === undefined) return asStored<Result>(record.result);
  const parsed = definition.result.safeParse(record.result);
  if (parsed.success) return parsed.data;
  const issues = describeIssues(parsed.error).join("; ");
  throw invalid(record.id, type, `has a result that does not match its schema: ${issues}`);
}

/** Without a schema `Result` is any schema at all, whose output is unknown. */
function asStored<Result extends z.ZodType>(result: unknown): z.output<Result> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- to unknown, see above
  return result as z.output<Result>;
}

function invalid(id: string, type: string, problem: string): JobError {
  return new JobError("invalid_result", `Job ${id} ${problem}.`, { id, type });
}
