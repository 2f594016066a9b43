-- The queue's rows live for moments: dead ones are cleared away long before a fifth of the table is dead, and
-- without the pauses that spare a disk.
ALTER TABLE "evenkeel"."background_job" SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);
-- Only ever inserted and pruned.
ALTER TABLE "evenkeel"."background_job_history" SET (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1
);
-- A handful of rows that every drain, dispatch or run updates.
ALTER TABLE "evenkeel"."background_job_rotation" SET (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200
);
ALTER TABLE "evenkeel"."background_dispatch_window" SET (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05
);
ALTER TABLE "evenkeel"."background_function_run" SET (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05
);
ALTER TABLE "evenkeel"."background_outbox_event" SET (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200
);
