import type { Pool } from "pg";

/**
 * Tables of the kill run's own, and triggers on Evenkeel's that write down who did what when. They trust nothing
 * that the packages say: a session's name tells the worker, and the row as it was the holder.
 */
const statement = `
CREATE SCHEMA "kill_run";
SET LOCAL search_path = "kill_run";

-- What handlers write. "completed" has no key: nothing but the settlement keeps a second row away.
CREATE TABLE "plain" ("job" bigint, "fence" bigint, PRIMARY KEY ("job", "fence"));
CREATE TABLE "completed" (
  "job" bigint, "fence" bigint, "writer" text DEFAULT current_setting('application_name'));

CREATE TABLE "claim" (
  "job" bigint, "fence" bigint, "owner" text, "at" timestamptz DEFAULT clock_timestamp(),
  PRIMARY KEY ("job", "fence"));
-- An attempt that was counted.
CREATE TABLE "counted" ("job" bigint, "fence" bigint, "type" text);
-- "holder": whose the job was when it was settled.
CREATE TABLE "settlement" (
  "job" bigint, "fence" bigint, "holder" text, "at" timestamptz DEFAULT clock_timestamp(),
  "writer" text DEFAULT current_setting('application_name'));
CREATE TABLE "effect_write" (
  "job" bigint, "fence" bigint, "state" text, "at" timestamptz DEFAULT clock_timestamp(),
  "writer" text DEFAULT current_setting('application_name'));
-- What workers held when they were killed or stopped.
CREATE TABLE "held" (
  "label" text, "job" bigint, "fence" bigint, "at" timestamptz, PRIMARY KEY ("job", "fence"));
-- When a stopped worker went on.
CREATE TABLE "stop" ("label" text PRIMARY KEY, "ended_at" timestamptz DEFAULT clock_timestamp());

CREATE FUNCTION "log_update"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO "kill_run"."claim" ("job", "fence", "owner")
  SELECT "after"."id", "after"."fence", "after"."owner" FROM "after" JOIN "before" USING ("id")
  WHERE "after"."fence" <> "before"."fence";
  INSERT INTO "kill_run"."counted"
  SELECT "after"."id", "after"."fence", "after"."type" FROM "after" JOIN "before" USING ("id")
  WHERE "after"."attempt" > "before"."attempt";
  INSERT INTO "kill_run"."settlement" ("job", "fence", "holder")
  SELECT "before"."id", "before"."fence", "before"."owner" FROM "after" JOIN "before" USING ("id")
  WHERE "before"."state" = 'RUNNING' AND "after"."state" <> 'RUNNING'
    -- Of an expired lease, whoever finds it makes the job available again: that settles nothing.
    AND NOT ("before"."lease_expires_at" <= now() AND "before"."owner" <> current_setting('application_name'));
  RETURN NULL;
END $$;
CREATE TRIGGER "kill_run_update" AFTER UPDATE ON "evenkeel"."background_job"
  REFERENCING OLD TABLE AS "before" NEW TABLE AS "after" FOR EACH STATEMENT EXECUTE FUNCTION "log_update"();

CREATE FUNCTION "log_end"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO "kill_run"."settlement" ("job", "fence", "holder") SELECT "id", "fence", "owner" FROM "before";
  RETURN NULL;
END $$;
CREATE TRIGGER "kill_run_end" AFTER DELETE ON "evenkeel"."background_job"
  REFERENCING OLD TABLE AS "before" FOR EACH STATEMENT EXECUTE FUNCTION "log_end"();

CREATE FUNCTION "log_effect"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO "kill_run"."effect_write" ("job", "fence", "state") VALUES (NEW."job_id", NEW."fence", NEW."state");
  RETURN NULL;
END $$;
CREATE TRIGGER "kill_run_begun" AFTER INSERT ON "evenkeel"."background_effect"
  FOR EACH ROW EXECUTE FUNCTION "log_effect"();
-- An answer from the record leaves the row as it was.
CREATE TRIGGER "kill_run_effect" AFTER UPDATE ON "evenkeel"."background_effect"
  FOR EACH ROW WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION "log_effect"();`;

/** Creates the kill run's tables and triggers in a migrated database. */
export async function createLogTables(pool: Pool): Promise<void> {
  await pool.query(`BEGIN; ${statement} COMMIT;`);
}
