-- What retention looks for: the oldest settled rows of a status. Each index leaves the hot paths alone: it
-- holds no row that a claim, a heartbeat or a duplicate tick updates, or no column that they change.
-- Building one holds up writes to its table meanwhile. On a large live table create it first with
-- CREATE INDEX CONCURRENTLY under the same name: it is then left as it is.

-- Windows that were sent have background_dispatch_window_sent; these are the few others. The predicate names
-- no status that an earlier migration of the same transaction may have added.
CREATE INDEX IF NOT EXISTS "background_dispatch_window_prunable"
    ON "evenkeel"."background_dispatch_window" ("status", "window_start")
    WHERE "status" NOT IN ('DISPATCHING', 'ENQUEUED', 'ENQUEUE_FAILED');

CREATE INDEX IF NOT EXISTS "background_dispatch_guard_prunable"
    ON "evenkeel"."background_dispatch_guard" ("taken_at");

CREATE INDEX IF NOT EXISTS "background_function_run_prunable"
    ON "evenkeel"."background_function_run" ("status", "finished_at")
    WHERE "finished_at" IS NOT NULL;

CREATE INDEX IF NOT EXISTS "background_job_history_prunable"
    ON "evenkeel"."background_job_history" ("outcome", "finished_at");

CREATE INDEX IF NOT EXISTS "background_dead_letter_prunable"
    ON "evenkeel"."background_dead_letter" ("status", "resolved_at")
    WHERE "resolved_at" IS NOT NULL;
