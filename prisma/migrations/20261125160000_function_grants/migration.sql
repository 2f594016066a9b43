-- Functions that statements of every user call, and those of tenants. They read with the caller's rights, and anybody may
-- call them where the owner's default privileges are as Postgres has them. Where these were taken from PUBLIC, only the
-- owner could: claims under limits, `explain` and what operators requeue were refused to all other users.
GRANT EXECUTE ON FUNCTION evenkeel.bucket_of(text), evenkeel.tenth_of(integer),
  evenkeel.room_of(evenkeel.job_limit_kind, text), evenkeel.note_starts(jsonb, integer, bigint) TO PUBLIC;
