/*
 * What operators decided about the queue. A cap or a rate holds exactly, however many claims run at once: a claim locks
 * the row of a limited tenant or type, and skips it when another holds it or changed it since the claim's snapshot
 * (`version`). It changes the row itself when it takes jobs. So what it counted is what runs. What there is room for is
 * counted by `evenkeel.room_of` in the database: by claims, by `explain`, and for an operator's own look.
 */

/** Returns whether no operator paused a tenant, an expression. */
export function notPaused(tenantId: string): string {
  // OFFSET 0: a probe per row, never a join, which would read the limits of all tenants once the estimates are off.
  return `NOT EXISTS (
    SELECT FROM evenkeel.background_job_limit AS paused
    WHERE paused.kind = 'TENANT' AND paused.subject = ${tenantId} AND paused.paused
    OFFSET 0
  )`;
}
