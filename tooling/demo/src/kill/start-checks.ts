import type { Pool } from "pg";

import type { StartNotes } from "./start-notes.ts";

/** What the starts came to. */
export interface StartFindings {
  /** By what each claims. */
  readonly checks: Readonly<Record<string, boolean>>;
  readonly figures: Readonly<Record<string, unknown>>;
}

/** A job with one attempt, at the end. */
interface Single {
  readonly id: string;
  readonly outcome: "SUCCEEDED" | "DEAD";
  readonly claims: number;
}

const singlesStatement = `
SELECT ended.id::text, ended.outcome::text,
  (SELECT count(*) FROM kill_run.claim WHERE claim.job = ended.id)::int AS claims
FROM evenkeel.background_job_history AS ended WHERE ended.type = 'kill.single'`;

/** Claims of any kind that ended before a start, and whose jobs others claimed again. */
const goneBackStatement = `
SELECT count(*)::int AS jobs FROM kill_run.claim AS held
WHERE NOT EXISTS (SELECT FROM kill_run.counted WHERE counted.job = held.job AND counted.fence = held.fence)
  AND NOT EXISTS (SELECT FROM kill_run.settlement WHERE settlement.job = held.job AND settlement.fence = held.fence)
  AND EXISTS (SELECT FROM kill_run.claim AS next WHERE next.job = held.job AND next.fence = held.fence + 1)`;

const countedStatement = `SELECT concat_ws(' ', job, fence) AS claim FROM kill_run.counted`;

/**
 * Compares the attempts that the ledger counted with what workers noted of their starts. A worker can die after the
 * ledger has put a start on record and before the handler's first line: then nothing ran, and the attempt counts.
 */
export async function checkStarts(pool: Pool, { asked, ran }: StartNotes): Promise<StartFindings> {
  const { rows: singles } = await pool.query<Single>(singlesStatement);
  const { rows } = await pool.query<{ claim: string }>(countedStatement);
  const goneBack = await pool.query<{ jobs: number }>(goneBackStatement);
  const counted = rows.map(({ claim }) => claim);
  const [askedClaims, countedClaims] = [new Set(asked), new Set(counted)];
  const runs = countByJob(ran);
  const attempts = countByJob(counted);
  // A claim of its attempt that no worker asked for is a breach by itself.
  const unasked = counted.filter((claim) => !askedClaims.has(claim)).length;
  const unrecorded = ran.filter((claim) => !countedClaims.has(claim)).length;
  const dead = singles.filter(({ outcome }) => outcome === "DEAD");
  const succeeded = singles.filter(({ outcome }) => outcome === "SUCCEEDED");
  const figures = {
    ran: ran.length,
    unasked,
    unrecorded,
    singles: singles.length,
    singlesDead: dead.length,
    // Their workers died between the record and the handler.
    singlesDeadUnrun: dead.filter(({ id }) => !runs.has(id)).length,
    // They were held, went back as they were, and started elsewhere.
    singlesGoneBack: succeeded.filter(({ claims }) => claims > 1).length,
    goneBack: goneBack.rows[0]?.jobs ?? 0,
  };
  return {
    checks: {
      "an attempt counts only where a worker asked for the start, and no handler runs without":
        unasked === 0 && unrecorded === 0,
      "single: each started at most once in all": singles.every(
        ({ id }) => (runs.get(id) ?? 0) <= 1 && (attempts.get(id) ?? 0) <= 1,
      ),
      "single: each that succeeded ran": succeeded.every(({ id }) => runs.has(id)),
      "single: some died with their workers, none without a start":
        dead.length > 0 && dead.every(({ id }) => attempts.has(id)) && unasked === 0,
      "some that were only held when their workers died were claimed again": figures.goneBack > 0,
    },
    figures: { starts: figures },
  };
}

function countByJob(claims: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const claim of claims) {
    const job = claim.slice(0, claim.indexOf(" "));
    counts.set(job, (counts.get(job) ?? 0) + 1);
  }
  return counts;
}
