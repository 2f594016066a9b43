import type { FunctionConfig } from "../app/function-config.ts";
import type { StoredEvent } from "../event/event.ts";

/** How one run is asked for. */
export interface StartRequest {
  readonly fn: FunctionConfig;
  /** The events of the run; the first is its trigger. */
  readonly events: readonly StoredEvent[];
  /** What duplicates are known by: one run per function and key within 24 hours. */
  readonly idempotencyKey: string;
  readonly batchId?: string;
  readonly cron?: string;
  /** Whether the event has passed rate limit and debounce before. */
  readonly isAdmitted?: boolean;
}
