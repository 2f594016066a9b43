/* A host of functions, with nothing but what was installed. Copied into an empty folder and run there. */
import { createBackground } from "@evenkeel/functions";
import { defineJob, handleJob } from "@evenkeel/jobs";
import { Inngest } from "inngest";
import { serve } from "inngest/edge";
import pg from "pg";
import { z } from "zod";

const pool = new pg.Pool({ connectionString: process.argv[2] ?? "" });
const greet = defineJob({ type: "greet", version: 1, payload: z.object({ name: z.string() }) });
const background = createBackground({
  appId: "product",
  environment: { INNGEST_DEV: "1", CRON_SECRET: "0123456789abcdef0123456789abcdef" },
  pool,
  handlers: [handleJob(greet, async () => {})],
  serve,
});
await background.migrate();
const { client } = background.parts();
await background.close();
await pool.end();
if (!(client instanceof Inngest)) throw new Error("Its client is of another copy of inngest.");
