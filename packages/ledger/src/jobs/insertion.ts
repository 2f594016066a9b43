import type { SqlClient } from "../database/database.ts";
import { insertStatements, type KeyUse } from "./insert-statements.ts";
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
    const rows = await ask(sql, asked);
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

interface InsertRow {
  readonly id: string | null;
  readonly created: boolean;
}

async function ask(sql: SqlClient, jobs: readonly NewJob[]): Promise<InsertRow[]> {
  const [first] = jobs;
  const keyUse = keyUseOf(jobs);
  if (first === undefined || keyUse !== "uniform") {
    return sql.query<InsertRow>(insertStatements[keyUse], [`[${jobs.map(encodeJob).join(",")}]`]);
  }
  return sql.query<InsertRow>(insertStatements.uniform, [
    `[${jobs.map(encodeOwn).join(",")}]`,
    first.type,
    first.version,
    first.lane,
    first.priority ?? 0,
    first.maxAttempts,
  ]);
}

function keyUseOf(jobs: readonly NewJob[]): KeyUse {
  const keyed = jobs.filter(({ uniqueKey }) => uniqueKey !== undefined);
  if (keyed.some(({ uniqueness }) => uniqueness !== undefined)) return "lasting";
  return keyed.length === 0 && jobs.every((job) => isLike(job, jobs[0])) ? "uniform" : "unsettled";
}

/** Whether two jobs share what {@link encodeOwn} leaves out. */
function isLike(job: NewJob, other: NewJob | undefined): boolean {
  return (
    job.type === other?.type &&
    job.version === other.version &&
    job.lane === other.lane &&
    job.priority === other.priority &&
    job.maxAttempts === other.maxAttempts
  );
}

function encodeOwn(job: NewJob): string {
  const fields = JSON.stringify({
    tenant_id: job.tenantId,
    run_at: job.runAt?.toISOString(),
    delay_ms: job.delayMs,
    correlation_id: job.correlationId,
  });
  return `${fields.slice(0, -1)},"payload":${job.payloadText}}`;
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
