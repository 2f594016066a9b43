/**
 * What operators decided about the queue, as CTEs and conditions of the statements that claim and explain.
 *
 * A cap or a rate holds exactly, however many claims run at once. A claim locks the row of a limited tenant or type,
 * and skips it when another holds it or changed it since the claim's snapshot (`version`). It changes the row itself
 * when it takes jobs. So what it counted is what runs.
 */

/** What holds for every tenant, one row, as {@link tenantLimits} reads it. */
export const settingsCte: string = `
  settings AS MATERIALIZED (
    SELECT every.max_running, every.rate_limit, every.rate_period_ms
    FROM (VALUES (1)) AS one
    LEFT JOIN evenkeel.background_job_limit AS every ON every.kind = 'EVERY_TENANT'
  )`;

/** Returns how many jobs of a type, an expression, run under its cap; counted no further than `most`. */
export function runningOfType(type: string, most: string): string {
  return `(SELECT count(*)::int FROM (
    SELECT FROM evenkeel.background_job AS held
    WHERE held.state = 'RUNNING' AND held.capped AND held.type = ${type}
    LIMIT ${most}
  ) AS held)`;
}

/**
 * Returns which tenth of a period it is, counted since 1970. clock_timestamp(), as a start counts for the moment of its
 * decision and not for that at which its statement began to wait.
 */
export function currentTenth(periodMs: string): string {
  return `floor(extract(epoch FROM clock_timestamp()) * 10000 / ${periodMs})::bigint`;
}

/**
 * Returns whether starts of a tenth, an expression, still count. Those of the last period do, and those ahead, which
 * another claim noted a moment ago, unless they are so far ahead that the clock must have been set back.
 */
export function countsYet(tenth: string, periodMs: string): string {
  return `${tenth} BETWEEN ${currentTenth(periodMs)} - 10 AND ${currentTenth(periodMs)} + 100`;
}

/**
 * Returns the limits of one tenant, an expression; no row without a decision about it or every tenant. `room` is how
 * many of its jobs may be claimed: `NULL` for any number, 0 or less for none. A start is noted after what was spent was
 * counted. It counts for the tenth of the period that it fell in and for ten more, so that no period, whenever it
 * begins, sees more than the rate.
 */
export function tenantLimits(tenantId: string): string {
  return `(
    SELECT rule.*, LEAST(rule.max_running - rule.running, rule.rate_limit - rule.spent) AS room
    FROM (
      SELECT own.version, own.paused, rule.max_running, rule.rate_limit, rule.rate_period_ms,
        CASE WHEN rule.max_running IS NOT NULL THEN (
          SELECT count(*)::int FROM (
            SELECT FROM evenkeel.background_job AS held
            WHERE held.state = 'RUNNING' AND held.capped AND held.tenant_id = own.subject
            LIMIT rule.max_running
          ) AS held
        ) END AS running,
        CASE WHEN rule.rate_limit IS NOT NULL THEN (
          SELECT COALESCE(sum(tenth.value::int), 0)::int FROM jsonb_each_text(own.spent) AS tenth
          WHERE ${countsYet("tenth.key::bigint", "rule.rate_period_ms")}
        ) END AS spent
      FROM evenkeel.background_job_limit AS own
      CROSS JOIN settings
      CROSS JOIN LATERAL (
        SELECT COALESCE(own.max_running, settings.max_running) AS max_running,
          COALESCE(own.rate_limit, settings.rate_limit) AS rate_limit,
          COALESCE(own.rate_period_ms, settings.rate_period_ms) AS rate_period_ms
      ) AS rule
      WHERE own.kind = 'TENANT' AND own.subject = ${tenantId}
    ) AS rule
  )`;
}

/** Returns whether no operator paused a tenant, an expression. */
export function notPaused(tenantId: string): string {
  // OFFSET 0: a probe per row, never a join, which would read the limits of all tenants once the estimates are off.
  return `NOT EXISTS (
    SELECT FROM evenkeel.background_job_limit AS paused
    WHERE paused.kind = 'TENANT' AND paused.subject = ${tenantId} AND paused.paused
    OFFSET 0
  )`;
}
