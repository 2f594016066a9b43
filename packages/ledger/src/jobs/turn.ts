/** How much due time one level of priority is worth: with two levels more, a job passes those 20 minutes older. */
export const priorityStepMs = 600_000;

const priorityStep = "interval '10 minutes'";

/**
 * Returns when a job's turn among its tenant's jobs comes, an expression over when it is due and its priority: each level
 * counts as {@link priorityStepMs} of waiting.
 */
export function turnAt(due: string, priority: string): string {
  return `${due} - ${priority} * ${priorityStep}`;
}

/** Returns where a job that is due at a time waits, an expression: in the way of no claim where that is later than `now`. */
export function waitingState(due: string, now: string): string {
  return `(CASE WHEN ${due} > ${now} THEN 'SCHEDULED' ELSE 'PENDING' END)::evenkeel.job_state`;
}
