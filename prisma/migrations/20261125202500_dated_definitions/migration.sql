-- Since when a schedule's windows are what its definition says, and what they were before: a window is judged by the
-- definition of its time.
ALTER TABLE evenkeel.background_schedule
  -- NULL: as long as it is on record.
  ADD COLUMN defined_at timestamptz(3),
  -- The last 20 that had other windows, the oldest first, as { definition, from, until }.
  ADD COLUMN earlier_definitions jsonb NOT NULL DEFAULT '[]';
