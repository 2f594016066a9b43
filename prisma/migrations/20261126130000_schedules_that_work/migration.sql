-- A tick that finds nothing to do sends nothing and claims no window. What a window sends is on record with it, and how
-- far it was fanned out.

-- The names of the events that a window's ticks sent, or were to send. What earlier versions dispatch sends both, and a
-- constant default rewrites no row.
ALTER TABLE evenkeel.background_dispatch_window
  ADD COLUMN events jsonb NOT NULL
    DEFAULT '["background/process.requested", "background/maintenance.requested"]',
  -- How far it was fanned out to tenants; NULL where it is not.
  ADD COLUMN fan_out jsonb;

-- Which windows of a schedule had their tick and found nothing to do: one row per schedule, however long it is idle.
CREATE TABLE evenkeel.background_schedule_idle (
  schedule text COLLATE "C" PRIMARY KEY,
  -- The times of these windows, of the last two days. Neighbours are one range, also across windows between them that
  -- are on record.
  fired tstzmultirange NOT NULL,
  -- How many windows there were in all, and the starts of the first and the last of them.
  idle_count bigint NOT NULL DEFAULT 1,
  first_window timestamptz(3) NOT NULL,
  last_window timestamptz(3) NOT NULL,
  updated_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
-- A handful of rows that every idle window updates: half of each page is left for the new versions.
ALTER TABLE evenkeel.background_schedule_idle
  SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
