-- Who waits for new jobs of a lane, and until when that is certain: one row per lane. Whoever commits a job and
-- then finds the lane attended knows that a claim comes after the commit.
CREATE TABLE "evenkeel"."background_job_poller" (
    "lane" "evenkeel"."lane" NOT NULL,
    "poller_id" UUID NOT NULL,
    "lease_expires_at" TIMESTAMPTZ(3) NOT NULL,
    CONSTRAINT "background_job_poller_pkey" PRIMARY KEY ("lane")
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
