import {
  InputError,
  lanes,
  describeIssues,
  jsonValueSchema,
  storableText,
  tenantIdSchema,
} from "@evenkeel/core";
import { z } from "zod";

import { jobRequested, type jobRequestSchema } from "./job-events.ts";

const text = (maxLength: number): z.ZodString =>
  z
    .string()
    .min(1)
    .max(maxLength)
    .regex(storableText, "must not contain NUL or half of a surrogate pair");

const dispatchEventShape = {
  /** Who asked: `cron`, `manual`, `continuation`, or a product's own word. */
  source: text(200),
  /** When it was asked for, ISO 8601 in UTC. */
  requestedAt: z.iso.datetime(),
  /** The canonical text naming the window. */
  dispatchKey: text(2_000),
  /** Follows one tick through logs, events and records. */
  correlationId: text(200),
  /** The start of the window, ISO 8601 in UTC. */
  dispatchWindowStart: z.iso.datetime(),
  /** The length of the window in seconds. A cron expression can match once in 40 years; 68 are what the ledger keeps. */
  dispatchWindowSeconds: z.int().min(1).max(2_147_483_647),
  schemaVersion: z.literal(1),
  lane: z.enum(lanes),
  /** The schedule's id. */
  schedule: text(100),
  /** Present when the schedule is dispatched per tenant. */
  tenantId: tenantIdSchema.optional(),
  /** The parameters that are part of the dispatch key. */
  params: z.record(z.string(), jsonValueSchema).optional(),
  /** Which continuation of the window's work this is; absent on the event that the tick sent. */
  continuation: z.int().min(1).max(10_000).optional(),
};

/** The zod schema of version 1 of both dispatch events. Unknown fields are dropped. */
export const dispatchEventSchema: z.ZodObject<typeof dispatchEventShape> =
  z.object(dispatchEventShape);

/** The data of a dispatch event, version 1. */
export type DispatchEventData = z.output<typeof dispatchEventSchema>;

/** A published event: its name, the version of its schema, and the schema. */
export interface EventContract<
  Name extends string = string,
  Schema extends z.ZodType = typeof dispatchEventSchema,
> {
  readonly name: Name;
  readonly version: number;
  readonly schema: Schema;
}

/** Asks for the due jobs of a schedule's window to be processed. */
export const processRequested: EventContract<"background/process.requested"> = {
  name: "background/process.requested",
  version: 1,
  schema: dispatchEventSchema,
};

/** Asks for the ledger's upkeep in a schedule's window: repair, reports, retention. */
export const maintenanceRequested: EventContract<"background/maintenance.requested"> = {
  name: "background/maintenance.requested",
  version: 1,
  schema: dispatchEventSchema,
};

/** Every published contract, by event name. */
export const eventContracts: ReadonlyMap<
  string,
  EventContract<string, typeof dispatchEventSchema | typeof jobRequestSchema>
> = new Map<string, EventContract<string, typeof dispatchEventSchema | typeof jobRequestSchema>>([
  [processRequested.name, processRequested],
  [maintenanceRequested.name, maintenanceRequested],
  [jobRequested.name, jobRequested],
]);

/**
 * Returns an event's data, parsed against its contract. A consumer calls it before it acts; a sender calls
 * `checkEvent`.
 *
 * @throws InputError `invalid_payload` with `name`, `version` and `issues` (one line each, without values).
 */
export function parseEvent<Schema extends z.ZodType>(
  contract: EventContract<string, Schema>,
  data: unknown,
): z.output<Schema> {
  const result = contract.schema.safeParse(data);
  if (result.success) return result.data;
  const issues = describeIssues(result.error);
  throw new InputError(
    "invalid_payload",
    `The data of ${contract.name} does not match version ${contract.version}: ${issues.join("; ")}`,
    { name: contract.name, version: contract.version, issues },
  );
}
