/** Whether another run than `run` holds the guard of its window. A statement names the run's row `run`. */
export const wasTakenOver: string = `EXISTS (
    SELECT FROM evenkeel.background_dispatch_guard AS guard
    WHERE guard.function_id = run.function_id AND guard.dispatch_key = run.dispatch_key
      AND guard.continuation = run.continuation AND guard.run_id <> run.run_id
  )`;

/**
 * Whether `run` did the work of a window, or does it. One that has begun works once it holds the guard. A statement
 * names the run's row `run`.
 */
export const executesWindow: string = `run.dispatch_key IS NOT NULL
  AND (run.status = 'SUCCEEDED' OR (run.status = 'RUNNING' AND EXISTS (
    SELECT FROM evenkeel.background_dispatch_guard AS guard
    WHERE guard.function_id = run.function_id AND guard.dispatch_key = run.dispatch_key
      AND guard.continuation = run.continuation AND guard.run_id = run.run_id
  )))`;

/**
 * Whether a run of `dispatch_window` has started and has not fallen silent, however it ended, and so it is with every
 * function that the window started: a product's own may be one of several. A statement names the window's row
 * `dispatch_window`.
 */
export const hasLiveRun: string = `(EXISTS (
      SELECT FROM evenkeel.background_function_run AS run
      WHERE run.dispatch_key = dispatch_window.dispatch_key
        AND run.event_name = 'background/process.requested' AND run.status <> 'STALE'
    ) AND NOT EXISTS (
      SELECT FROM evenkeel.background_function_run AS silent
      WHERE silent.dispatch_key = dispatch_window.dispatch_key
        AND silent.event_name = 'background/process.requested' AND silent.status = 'STALE'
        AND NOT EXISTS (
          SELECT FROM evenkeel.background_function_run AS run
          WHERE run.dispatch_key = dispatch_window.dispatch_key AND run.function_id = silent.function_id
            AND run.event_name = 'background/process.requested' AND run.status <> 'STALE'
        )
    ))`;
