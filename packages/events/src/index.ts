export { checkEvent, isCheckedEvent, type CheckedEvent } from "./checked-event.ts";
export {
  dispatchEventSchema,
  eventContracts,
  maintenanceRequested,
  parseEvent,
  processRequested,
  type DispatchEventData,
  type EventContract,
} from "./dispatch-events.ts";
export { scheduledEventSchema, type ScheduledEventData } from "./scheduled-events.ts";
export { jobRequested, jobRequestSchema, type JobRequestData } from "./job-events.ts";
