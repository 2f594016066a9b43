import type { Lane } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { defineStatement } from "../database/statement.ts";
import { readingOf, type HandshakeReading } from "../handshake/handshake.ts";

/** The window that a tick belongs to, and by what it is judged. */
export interface TickRequest {
  readonly dispatchKey: string;
  readonly schedule: string;
  readonly scope: string;
  readonly windowStart: Date;
  readonly windowSeconds: number;
  readonly lane: Lane;
  /** Whether the window is recorded as idle where there is nothing to do. `false`: only looks. */
  readonly mayBeIdle: boolean;
  /** Whether a run under way of an earlier window leaves this one out, which its claim then records. */
  readonly skipOnOverlap: boolean;
  /** How long a sent window may wait for its run before it waits for repair, in milliseconds. */
  readonly neverStartedAfterMs: number;
  /** How long a run may be silent before it waits for repair, in milliseconds. */
  readonly staleAfterMs: number;
}

/** What a tick has to do. */
export interface TickOutlook {
  /** Nothing at all: the window is on record as idle, and is not to be claimed. */
  readonly isIdle: boolean;
  /** Whether jobs are due, or will be before a drain would end that found none. */
  readonly hasWork: boolean;
  /** Whether upkeep is due: something waits for repair, or its last is long enough ago. */
  readonly isMaintenanceDue: boolean;
  /** Where the handshake of the lane stands. */
  readonly handshake: HandshakeReading;
}

/** `evenkeel.look_at_tick` says what is due, and records an idle window; it stands in the migration that made it. */
const lookStatement = defineStatement<keyof TickRequest>(`
SELECT has_work AS "hasWork", is_maintenance_due AS "isMaintenanceDue", is_idle AS "isIdle",
  ${readingOf(":lane::evenkeel.lane")} AS handshake
FROM evenkeel.look_at_tick(
  asked_key => :dispatchKey, asked_schedule => :schedule, asked_scope => :scope,
  starts_at => :windowStart::timestamptz, seconds => :windowSeconds::int, may_be_idle => :mayBeIdle::boolean,
  skip_on_overlap => :skipOnOverlap::boolean, never_started_ms => :neverStartedAfterMs::double precision,
  stale_ms => :staleAfterMs::double precision)`);

/**
 * Returns what a tick has to do, and records its window as idle where that is nothing. One statement. A window that is
 * on record already is not idle, nor one of a paused schedule, or one that an earlier run leaves out: its claim says
 * what becomes of it.
 */
export async function lookAtTick(sql: SqlClient, tick: TickRequest): Promise<TickOutlook> {
  const [row] = await sql.query<TickOutlook>(
    lookStatement.text,
    lookStatement.values({
      ...tick,
      windowStart: tick.windowStart.toISOString(),
    }),
  );
  if (row === undefined) throw new Error("A look at what is due came back without a row.");
  const { isIdle, hasWork, isMaintenanceDue, handshake } = row;
  return { isIdle, hasWork, isMaintenanceDue, handshake };
}

const wasIdleStatement = `
SELECT FROM evenkeel.background_schedule_idle
WHERE schedule = split_part($1, '|', 1) AND fired @> tstzrange(
  split_part($1, '|', 5)::timestamptz,
  split_part($1, '|', 5)::timestamptz + split_part($1, '|', 4)::int * interval '1 second')`;

/** The key of a window that can be idle: of the global scope, without parameters. */
const idleKey = /^[^|]+\|v1\|global\|\d{1,9}\|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/u;

/** Returns whether a window had its tick, which found nothing to do. It is known for two days. */
export async function wasIdle(sql: SqlClient, dispatchKey: string): Promise<boolean> {
  if (!idleKey.test(dispatchKey)) return false;
  return (await sql.query(wasIdleStatement, [dispatchKey])).length > 0;
}
