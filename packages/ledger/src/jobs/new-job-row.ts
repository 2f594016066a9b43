import { turnAt, waitingState } from "./turn.ts";

/**
 * When a job of `item` is due, an expression. Cut to the column's milliseconds: rounding up would make it due a moment
 * after now. statement_timestamp() and not now(), as the caller's transaction may have begun long ago.
 */
export const dueTime: string = `date_trunc('milliseconds', COALESCE(
        item.run_at, statement_timestamp() + COALESCE(item.delay_ms, 0) * interval '1 millisecond'
      ))`;

/** The columns that follow from when a job is due, its priority and its tenant: where it waits, and when its turn comes. */
export const derivedColumns = "run_at, state, turn_at, bucket";

/** Returns the values of {@link derivedColumns}, of a row of `input`. */
export function derivedValues(priority: string): string {
  return `input.due_at,
      ${waitingState("input.due_at", "statement_timestamp()")},
      ${turnAt("input.due_at", priority)}, input.bucket`;
}

/** The columns of a new job whose batch has nothing in common. */
export const jobColumns: string = `
      id, tenant_id, type, version, payload, priority, ${derivedColumns}, max_attempts, correlation_id`;

/** The values of {@link jobColumns}, of a row of `input`. The ids were drawn in the order in which equals are due. */
export const jobValues: string = `input.id, input.tenant_id, input.type, input.version, input.payload,
      COALESCE(input.priority, 0), ${derivedValues("COALESCE(input.priority, 0)")}, input.max_attempts,
      input.correlation_id`;
