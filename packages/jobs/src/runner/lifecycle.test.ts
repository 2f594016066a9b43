import { randomUUID } from "node:crypto";

import {
  createLedger,
  jobTransitions,
  type ClaimedJob,
  type JobStatus,
  type Settlement,
} from "@evenkeel/ledger";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import { cancelJob, rescheduleJob } from "../job-changes.ts";
import { setup, type Setup } from "../testing/setup.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

/** What a job should be by now. */
interface ExpectedJob {
  status: JobStatus;
  fence: string;
  isExpired: boolean;
  isDue: boolean;
}

type Step =
  | { readonly kind: "enqueue" }
  | { readonly kind: "claim"; readonly limit: number }
  | { readonly kind: "expire" | "makeDue" }
  | { readonly kind: "heartbeat" | "cancel" | "reschedule" | "postpone"; readonly pick: number }
  | { readonly kind: "settle"; readonly picks: readonly number[]; readonly end: End };

const ends = ["succeeded", "retry", "snooze", "released", "dead", "cancelled"] as const;
type End = (typeof ends)[number];

const statusAfter: Readonly<Record<End, JobStatus>> = {
  succeeded: "SUCCEEDED",
  retry: "SCHEDULED",
  snooze: "SCHEDULED",
  released: "PENDING",
  dead: "DEAD",
  cancelled: "CANCELLED",
};

const pick = fc.nat({ max: 100 });
const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.constantFrom<Step>({ kind: "enqueue" }, { kind: "expire" }, { kind: "makeDue" }),
  fc.integer({ min: 1, max: 4 }).map((limit): Step => ({ kind: "claim", limit })),
  fc
    .tuple(fc.constantFrom("heartbeat", "cancel", "reschedule", "postpone"), pick)
    .map(([kind, pick]): Step => ({ kind, pick })),
  fc
    .tuple(fc.array(pick, { minLength: 1, maxLength: 3 }), fc.constantFrom(...ends))
    .map(([picks, end]): Step => ({ kind: "settle", picks, end })),
);

const error = { code: "x", message: "x" };

function settlementOf({ id, fence }: ClaimedJob, end: End): Settlement {
  if (end === "retry") return { id, fence, kind: end, delayMs: 3_600_000, error };
  if (end === "snooze") return { id, fence, kind: end, delayMs: 3_600_000 };
  if (end === "dead") return { id, fence, kind: end, reason: "terminal", error };
  return { id, fence, kind: end };
}

/** Two hosts' claims, old and new, used in any order, beside a model of what must come of it. */
class Scenario {
  readonly type: string = randomUUID();
  readonly jobs: Map<string, ExpectedJob> = new Map();
  readonly claims: ClaimedJob[] = [];

  async take(step: Step): Promise<void> {
    switch (step.kind) {
      case "enqueue":
        return this.#enqueue();
      case "claim":
        return this.#claim(step.limit);
      case "expire":
        await this.#update("lease_expires_at", "RUNNING");
        for (const job of this.jobs.values()) if (job.status === "RUNNING") job.isExpired = true;
        return;
      case "makeDue":
        await this.#update("run_at", "SCHEDULED");
        for (const job of this.jobs.values()) job.isDue = true;
        return;
      case "heartbeat":
        return this.#heartbeat(step.pick);
      case "cancel":
        return this.#cancel(step.pick);
      case "reschedule":
        return this.#reschedule(step.pick, 0);
      case "postpone":
        return this.#reschedule(step.pick, 3_600_000);
      case "settle":
        return this.#settle(step.picks, step.end);
    }
  }

  /** Where each job is, by the tables and by the model, and how many letters there are. */
  async compare(): Promise<Record<"actual" | "expected", { places: string[]; letters: number }>> {
    const { pool } = t.database;
    const { rows } = await pool.query<{ id: string; status: string }>(
      `SELECT "id"::text, "state"::text AS "status" FROM "evenkeel"."background_job" WHERE "type" = $1
       UNION ALL
       SELECT "id"::text, "outcome"::text FROM "evenkeel"."background_job_history" WHERE "type" = $1`,
      [this.type],
    );
    const letters = await pool.query(
      `SELECT FROM "evenkeel"."background_dead_letter" WHERE "name" = $1`,
      [this.type],
    );
    const expected = [...this.jobs].map(([id, { status }]) => ({ id, status }));
    const toPlaces = (jobs: typeof expected | typeof rows): string[] =>
      jobs.map(({ id, status }) => `${id} ${status}`).toSorted();
    return {
      actual: { places: toPlaces(rows), letters: letters.rows.length },
      expected: {
        places: toPlaces(expected),
        letters: expected.filter(({ status }) => status === "DEAD").length,
      },
    };
  }

  async #enqueue(): Promise<void> {
    const job = { tenantId: "t", version: 1, payloadText: "{}" } as const;
    const stored = await t.ledger.jobs.insert(undefined, [
      { ...job, type: this.type, maxAttempts: 3 },
    ]);
    for (const { id } of stored) {
      this.jobs.set(id, { status: "PENDING", fence: "0", isExpired: false, isDue: true });
    }
  }

  async #claim(limit: number): Promise<void> {
    // A claim makes available what is due and what expired.
    for (const [id, { status, isDue, isExpired }] of this.jobs) {
      const isFreed = (status === "SCHEDULED" && isDue) || (status === "RUNNING" && isExpired);
      if (isFreed) this.#move(id, "PENDING");
    }
    const available = [...this.jobs.values()].filter(({ status }) => status === "PENDING").length;
    const request = { types: [this.type], limit, leaseMs: 3_600_000, owner: "o" };
    // Of a host that claimed nothing before: what it remembers of an earlier claim makes no difference then.
    const { jobs: store } = createLedger({ pool: t.database.pool });
    const { jobs } = await store.claim({ lane: "stable", ...request });
    expect(jobs).toHaveLength(Math.min(available, limit));
    for (const claimed of jobs) {
      const job = this.#move(claimed.id, "RUNNING");
      expect(BigInt(claimed.fence)).toBeGreaterThan(BigInt(job.fence));
      Object.assign(job, { fence: claimed.fence, isExpired: false });
      this.claims.push(claimed);
    }
  }

  async #heartbeat(pick: number): Promise<void> {
    const claim = this.claims[pick % Math.max(1, this.claims.length)];
    if (claim === undefined) return;
    const held = await t.ledger.jobs.heartbeat([claim], 3_600_000);
    expect(held.has(claim.id)).toBe(this.#isHeld(claim));
    const job = this.jobs.get(claim.id);
    if (job !== undefined && held.has(claim.id)) job.isExpired = false;
  }

  async #settle(picks: readonly number[], end: End): Promise<void> {
    const claims = new Set(
      picks.flatMap((place) => this.claims[place % Math.max(1, this.claims.length)] ?? []),
    );
    const held = [...claims].filter((claim) => this.#isHeld(claim));
    const settlements = [...claims].map((claim) => settlementOf(claim, end));
    const accepted = await t.ledger.jobs.settle(settlements);
    expect([...accepted].toSorted()).toEqual(held.map(({ id }) => id).toSorted());
    for (const { id } of held) {
      const isPutOff = end === "retry" || end === "snooze";
      Object.assign(this.#move(id, statusAfter[end]), { isDue: !isPutOff });
    }
  }

  /** By id, whatever its status: who held it holds it no more. */
  async #cancel(pick: number): Promise<void> {
    const [id, job] = [...this.jobs][pick % Math.max(1, this.jobs.size)] ?? [];
    if (id === undefined || job === undefined) return;
    const { status } = job;
    const { pool } = t.database;
    const isOver = jobTransitions[status].length === 0;
    expect(await cancelJob(pool, { tenantId: "t", id })).toEqual({
      cancelled: !isOver,
      id,
      status,
    });
    if (!isOver) this.#move(id, "CANCELLED");
  }

  async #reschedule(pick: number, delayMs: number): Promise<void> {
    const [id, job] = [...this.jobs][pick % Math.max(1, this.jobs.size)] ?? [];
    if (id === undefined || job === undefined) return;
    const { status } = job;
    const waits = status === "SCHEDULED" || status === "PENDING";
    const { pool } = t.database;
    const reference = { tenantId: "t", id };
    const change = await rescheduleJob(pool, reference, { delayMs });
    expect(change).toEqual({ rescheduled: waits, id, status });
    if (!waits) return;
    if (status !== "SCHEDULED") this.#move(id, "SCHEDULED");
    job.isDue = delayMs === 0;
  }

  #isHeld({ id, fence }: ClaimedJob): boolean {
    const job = this.jobs.get(id);
    return job?.status === "RUNNING" && job.fence === fence;
  }

  #move(id: string, to: JobStatus): ExpectedJob {
    const job = this.jobs.get(id);
    if (job === undefined) throw new Error(`Job ${id} was never enqueued.`);
    expect(jobTransitions[job.status]).toContain(to);
    job.status = to;
    return job;
  }

  async #update(column: string, state: string): Promise<void> {
    await t.database.pool.query(
      `UPDATE "evenkeel"."background_job" SET "${column}" = now() - interval '1 second'
       WHERE "type" = $1 AND "state" = '${state}'`,
      [this.type],
    );
  }
}

test("claims and settlements in any order: only the current fence settles, and each job ends once", async () => {
  const property = fc.asyncProperty(
    fc.array(steps, { minLength: 10, maxLength: 60 }),
    async (sequence) => {
      const scenario = new Scenario();
      for (const step of sequence) await scenario.take(step);
      const { actual, expected } = await scenario.compare();
      expect(actual).toEqual(expected);
    },
  );
  await fc.assert(property, { numRuns: 40 });
});
