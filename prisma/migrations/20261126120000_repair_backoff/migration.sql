-- When a window may be repaired again: each repair doubles the pause before the next one.
ALTER TABLE evenkeel.background_dispatch_window
  -- NULL: no repair has been tried, or an operator has requeued it.
  ADD COLUMN next_repair_at timestamptz(3);
