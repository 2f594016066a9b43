-- Whether what is sent comes back, and who serves the functions that it starts.

-- One row per lane: the newest maintenance event that was sent, and the newest that came back by a run which reached
-- the ledger.
CREATE TABLE evenkeel.background_handshake (
  lane evenkeel.lane PRIMARY KEY,
  -- Dispatch keys of the two, and the build that sent.
  sent_key text NOT NULL, sent_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, sent_build text NOT NULL DEFAULT '',
  ok_key text, ok_at timestamptz(3), round_trip_ms integer,
  -- The first that was sent after the newest that came back. NULL: the newest did come back.
  unanswered_since timestamptz(3),
  -- What hosts that started last claimed to send: of many that start at once, one sends.
  start_key text
);

-- One row per address that serves an app's functions, with the build, lane and environment that it serves for. Its
-- replicas renew one lease. Old rows go when a host registers.
CREATE TABLE evenkeel.background_host (
  app_id text COLLATE "C" NOT NULL,
  -- Empty: nobody has called yet, and no address is set.
  serve_url text COLLATE "C" NOT NULL DEFAULT '',
  lane evenkeel.lane NOT NULL DEFAULT 'stable',
  environment text COLLATE "C" NOT NULL,
  build text COLLATE "C" NOT NULL DEFAULT '',
  -- The Inngest SDK and its version.
  sdk text NOT NULL DEFAULT '',
  registered_at timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  lease_expires_at timestamptz(3) NOT NULL,
  -- When Inngest's calls last were accepted, and last were refused, with why: 'signature' or 'expired'.
  called_at timestamptz(3), refused_at timestamptz(3), refusal text,
  -- How far the clock of Inngest's signatures runs ahead of the host's, and the database's of the host's.
  signature_skew_ms bigint, database_skew_ms bigint,
  PRIMARY KEY (app_id, serve_url, lane, environment, build)
);
