import type { SqlClient } from "./database.ts";
import { insertStatements, type KeyUse } from "./job-store-insert-statements.ts";
import type { InsertedJob, NewJob } from "./job-store.ts";

/**
 * See {@link JobStore.insert}. A row that met a job which another transaction stored after this statement
 * began is neither inserted nor found; it is asked again, and the next statement sees that job or its absence.
 */
export async function insertJobs(sql: SqlClient, jobs: readonly NewJob[]): Promise<InsertedJob[]> {
  const answers: (InsertedJob | undefined)[] = jobs.map(() => undefined);
  let open = jobs.map((_, place) => place);
  while (open.length > 0) {
    const asked = open.flatMap((place) => jobs[place] ?? []);
    const rows = await sql.query<{ id: string | null; created: boolean }>(
      insertStatements[keyUseOf(asked)],
      [`[${asked.map(encodeJob).join(",")}]`],
    );
    const unanswered: number[] = [];
    for (const [index, place] of open.entries()) {
      const row = rows[index];
      if (row === undefined || row.id === null) unanswered.push(place);
      else answers[place] = { id: row.id, created: row.created };
    }
    open = unanswered;
  }
  return answers.flatMap((answer) => answer ?? []);
}

function keyUseOf(jobs: readonly NewJob[]): KeyUse {
  if (jobs.some(({ uniqueKey, uniqueness }) => uniqueKey !== undefined && uniqueness !== undefined))
    return "lasting";
  return jobs.some(({ uniqueKey }) => uniqueKey !== undefined) ? "unsettled" : "none";
}

function encodeJob(job: NewJob): string {
  const { uniqueKey, uniqueness } = job;
  const fields = JSON.stringify({
    tenant_id: job.tenantId,
    type: job.type,
    version: job.version,
    lane: job.lane,
    priority: job.priority,
    run_at: job.runAt?.toISOString(),
    delay_ms: job.delayMs,
    max_attempts: job.maxAttempts,
    correlation_id: job.correlationId,
    ...(uniqueKey === undefined || uniqueness === undefined
      ? { unique_key: uniqueKey }
      : {
          lasting_key: uniqueKey,
          states: uniqueness.states ?? ["PENDING", "RUNNING"],
          period_ms: uniqueness.periodMs,
        }),
  });
  return `${fields.slice(0, -1)},"payload":${job.payloadText}}`;
}
