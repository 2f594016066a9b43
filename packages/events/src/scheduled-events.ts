import { z } from "zod";

import { dispatchEventSchema } from "./dispatch-events.ts";

const scheduledEventShape = { ...dispatchEventSchema.shape, schemaVersion: z.int().min(1) };

/**
 * What the data of an event has that a schedule starts: a product's own contract extends it. `dispatchKey` names the
 * window, by which its runs are recorded and guarded. Unknown fields are dropped.
 *
 * @example
 * const digestRequested = {
 *   name: "digest.requested",
 *   version: 1,
 *   schema: scheduledEventSchema.extend({ day: z.iso.date() }),
 * };
 */
export const scheduledEventSchema: z.ZodObject<typeof scheduledEventShape> =
  z.object(scheduledEventShape);

/** The data of an event that a schedule starts, as far as every product's has it. */
export type ScheduledEventData = z.output<typeof scheduledEventSchema>;
