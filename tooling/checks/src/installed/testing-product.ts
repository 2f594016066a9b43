/* A product's test, with nothing but what was installed. Copied into an empty folder and run there. */
import { defineJob, enqueue, handleJob } from "@evenkeel/jobs";
import { createTestBackground } from "@evenkeel/testing";
import { z } from "zod";

const greeted: string[] = [];
const greet = defineJob({ type: "greet", version: 1, payload: z.object({ name: z.string() }) });
const app = await createTestBackground({
  databaseUrl: process.argv[2] ?? "",
  handlers: [handleJob(greet, async ({ payload }) => void greeted.push(payload.name))],
});
const runAt = new Date(app.now().getTime() + 3_600_000);
await enqueue(app.pool, greet, { tenantId: "t1", payload: { name: "world" }, runAt });
await app.tick();
if (greeted.length > 0) throw new Error("The job started before its time.");
await app.advance("1h");
const { status } = await app.tick();
if (status !== 202 || greeted.join() !== "world") throw new Error(`The tick answered ${status}.`);
await app.close();
