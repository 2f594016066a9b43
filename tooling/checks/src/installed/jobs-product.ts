/* The whole way of a job, with nothing but what was installed. Copied into an empty folder and run there. */
import {
  createRunner,
  defineJob,
  enqueue,
  handleJob,
  upcaster,
  type AnyJobDefinition,
} from "@evenkeel/jobs";
import { createLedger } from "@evenkeel/ledger";
import pg from "pg";
import { z } from "zod";

const pool = new pg.Pool({ connectionString: process.argv[2] ?? "" });
const ledger = createLedger({ pool });
await ledger.migrate();
const first = z.object({ who: z.string() });
const second = z.object({
  name: z.string(),
  length: z
    .string()
    .transform((text) => text.length)
    .optional(),
  at: z.coerce.date().optional(),
  with: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("a"), is: z.boolean().default(true) }),
  ]),
  get next() {
    return z.array(z.lazy(() => first));
  },
});
const greet = defineJob({
  type: "greet",
  version: 2,
  payload: second,
  result: z.object({ greeted: z.number() }),
  upcast: {
    1: upcaster({ from: first }, ({ who }) => ({ name: who, with: { kind: "a" }, next: [] })),
  },
  unique: { key: ({ name }) => name, states: ["PENDING"] },
});
const definitions: readonly AnyJobDefinition[] = [greet];
const row = {
  name: "Ada",
  length: "four",
  with: { kind: "a" as const },
  next: [],
  passwordHash: "x",
};
const { id } = await enqueue(pool, greet, { tenantId: "acme", payload: row, unique: "ada" });
const stored = await ledger.forTenant("acme").jobs.find(id);
const text = JSON.stringify(stored?.payload);
if (text.includes("passwordHash") || !text.includes("four")) throw new Error(text);
const invalid = enqueue(pool, greet, { tenantId: "", payload: row });
const refused = await invalid.then(() => "nothing", String);
if (!refused.startsWith("InputError: ")) throw new Error(`An error lost its name: ${refused}`);
let dated: unknown;
try {
  defineJob({ type: "dated", version: 1, payload: z.object({ sentAt: z.date() }) });
} catch (error) {
  dated = error;
}
if (!String(dated).startsWith("JobError: Job dated at payload.sentAt: "))
  throw new Error(String(dated));
const greeted: string[] = [];
const handler = handleJob(greet, async ({ payload }) => {
  if (payload.length === 4 && payload.with.is) greeted.push(payload.name);
  return { greeted: definitions.length };
});
const runner = createRunner({ ledger, handlers: [handler], owner: "product" });
const { succeeded } = await runner.drain({ budgetMs: 20_000 });
const { windows } = await ledger.report();
await ledger.close();
await pool.end();
if (succeeded !== 1 || greeted[0] !== "Ada" || windows.total !== 0) throw new Error("No job ran.");
