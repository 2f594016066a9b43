/**
 * The runs under way of an earlier window of the same schedule and scope, a query without its select list. Parameters:
 * `schedule`, `scope`, `windowStart`.
 */
export const overlappingRuns: string = `FROM evenkeel.background_function_run AS run
  JOIN evenkeel.background_dispatch_window AS earlier ON earlier.dispatch_key = run.dispatch_key
  WHERE run.status = 'RUNNING' AND run.event_name = 'background/process.requested'
    AND earlier.schedule = :schedule AND earlier.scope = :scope AND earlier.window_start < :windowStart::timestamptz`;
