import { eventType, type EventType } from "inngest";

import {
  maintenanceRequested,
  processRequested,
  type dispatchEventSchema,
} from "./dispatch-events.ts";
import { jobRequested, type jobRequestSchema } from "./job-events.ts";

/** `background/process.requested` as a trigger and as an event to create, for SDK v4. */
export const processRequestedEvent: EventType<
  "background/process.requested",
  typeof dispatchEventSchema
> = eventType(processRequested.name, {
  schema: processRequested.schema,
  version: String(processRequested.version),
});

/** `background/job.requested` as a trigger and as an event to create, for SDK v4. */
export const jobRequestedEvent: EventType<"background/job.requested", typeof jobRequestSchema> =
  eventType(jobRequested.name, {
    schema: jobRequested.schema,
    version: String(jobRequested.version),
  });

/** `background/maintenance.requested` as a trigger and as an event to create, for SDK v4. */
export const maintenanceRequestedEvent: EventType<
  "background/maintenance.requested",
  typeof dispatchEventSchema
> = eventType(maintenanceRequested.name, {
  schema: maintenanceRequested.schema,
  version: String(maintenanceRequested.version),
});
