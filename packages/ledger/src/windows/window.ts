import type { JsonValue, Lane } from "@evenkeel/core";

import type { SqlValue } from "../database/database.ts";
import { encodeStorable, toStorableText } from "../database/storable-json.ts";
import type { HandshakeReading } from "../handshake/handshake.ts";

/** Where a dispatch window stands. */
export type WindowStatus =
  | "DISPATCHING"
  | "ENQUEUED"
  | "ENQUEUE_FAILED"
  | "INLINE_EMERGENCY"
  | "MISSED"
  | "SKIPPED_OVERLAP";

/**
 * Which status may follow which. `DISPATCHING` follows itself when an expired claim is taken over under a new fence.
 * A sent window returns to it when a repair sends it again, and to `ENQUEUE_FAILED` when an operator requeues its dead
 * letter. A missed window is dispatched after all by a late tick or a catch-up; one whose run starts was sent while
 * the ledger was unavailable. Every statement that changes a status asks for the old one and the fence or the lease.
 */
export const windowTransitions: Readonly<Record<WindowStatus, readonly WindowStatus[]>> = {
  DISPATCHING: ["DISPATCHING", "ENQUEUED", "ENQUEUE_FAILED", "INLINE_EMERGENCY"],
  ENQUEUE_FAILED: ["DISPATCHING"],
  ENQUEUED: ["DISPATCHING", "ENQUEUE_FAILED"],
  INLINE_EMERGENCY: [],
  MISSED: ["DISPATCHING", "ENQUEUED"],
  SKIPPED_OVERLAP: [],
};

/** The events that a window sends unless its claim says otherwise. */
export const dispatchEvents: readonly string[] = [
  "background/process.requested",
  "background/maintenance.requested",
];

/** The window that a tick asks to dispatch. */
export interface WindowClaim {
  readonly dispatchKey: string;
  readonly schedule: string;
  /** `global` or `tenant:<id>`. */
  readonly scope: string;
  readonly tenantId?: string;
  readonly windowStart: Date;
  readonly windowSeconds: number;
  readonly lane: Lane;
  /** The parameters that are part of the key. */
  readonly params?: Readonly<Record<string, JsonValue>>;
  /** Skip the window while a run of an earlier one of this schedule and scope is under way. */
  readonly skipOnOverlap?: boolean;
  /** Names the claiming host for people; it is no fence. */
  readonly owner: string;
  readonly correlationId: string;
  /** The names of the events that are to be sent; by default those of processing and of upkeep. */
  readonly events?: readonly string[];
  /** The job that the claim starts, by which one of another window is known. */
  readonly started?: StartedJob;
  /** How long the claim is good for, in milliseconds of the database's clock. */
  readonly leaseMs: number;
}

/** The job that a window starts. */
export interface StartedJob {
  readonly tenantId: string;
  readonly type: string;
  readonly uniqueKey: string;
  /** The keys of all windows of the schedule are from here up to there. */
  readonly keysFrom: string;
  readonly keysUntil: string;
}

/** What came of a claim, and where the handshake of its lane stood. */
export type ClaimOutcome = { readonly handshake?: HandshakeReading } & (
  | { readonly outcome: "claimed"; readonly fence: string; readonly claimCount: number }
  | { readonly outcome: "duplicate"; readonly window: WindowRecord }
  | { readonly outcome: "paused"; readonly reason: string | null }
  /** An earlier window's run is under way; the window is on record as left out. */
  | { readonly outcome: "overlap"; readonly window: WindowRecord }
);

/** What a window's send says beside its outcome. */
export interface SendNote {
  /**
   * The build that sent a maintenance event with the window: it is a handshake, which is noted. Absent: none was sent.
   */
  readonly handshakeBuild?: string;
}

/** How far a window was fanned out to tenants. */
export interface FanOutState {
  /** What the next page of tenants begins behind; `null`: the first. */
  readonly cursor: string | null;
  /** Tenants of the pages so far, and how many of them were left out as an earlier job of theirs had not ended. */
  readonly tenants: number;
  readonly skipped: number;
  /** When it began, ISO 8601. */
  readonly startedAt: string;
  /** When its last page was done, ISO 8601; `null`: there are more. */
  readonly finishedAt: string | null;
}

/** A window as recorded. */
export interface WindowRecord {
  readonly dispatchKey: string;
  readonly schedule: string;
  readonly scope: string;
  readonly tenantId: string | null;
  readonly windowStart: Date;
  readonly windowSeconds: number;
  readonly lane: Lane;
  readonly status: WindowStatus;
  readonly owner: string;
  readonly correlationId: string;
  /** How often it was claimed: more than once after a failed send or a dead host. */
  readonly claimCount: number;
  /** How many ticks found it dispatched or being dispatched. */
  readonly duplicateCount: number;
  /** How many sends failed. */
  readonly failureCount: number;
  readonly lastError: string | null;
  readonly leaseExpiresAt: Date | null;
  readonly enqueuedAt: Date | null;
  readonly params: Readonly<Record<string, JsonValue>> | null;
  /** The names of the events that its last claim was to send. */
  readonly events: readonly string[];
  /** How far it was fanned out to tenants; `null`: it is not fanned out, or has not begun. */
  readonly fanOut: FanOutState | null;
  /** How often a repair has sent it again. */
  readonly repairCount: number;
}

/** A window that no tick asked for. */
export type MissedWindow = Pick<
  WindowClaim,
  | "dispatchKey"
  | "schedule"
  | "scope"
  | "tenantId"
  | "windowStart"
  | "windowSeconds"
  | "lane"
  | "owner"
>;

/** A window whose run has started. */
export type StartedWindow = Omit<WindowClaim, "leaseMs" | "skipOnOverlap" | "events" | "started">;

/** A row of the table. */
export interface WindowRow {
  readonly dispatch_key: string;
  readonly schedule: string;
  readonly scope: string;
  readonly tenant_id: string | null;
  readonly window_start: Date;
  readonly window_seconds: number;
  readonly lane: Lane;
  readonly status: WindowStatus;
  readonly owner: string;
  readonly fence: string;
  readonly correlation_id: string;
  readonly claim_count: number;
  readonly duplicate_count: number;
  readonly failure_count: number;
  readonly last_error: string | null;
  readonly lease_expires_at: Date | null;
  readonly enqueued_at: Date | null;
  readonly params: Readonly<Record<string, JsonValue>> | null;
  readonly events: readonly string[];
  readonly fan_out: FanOutState | null;
  readonly repair_count: number;
}

/** Returns a row as {@link WindowRecord}. */
export function toRecord(row: WindowRow): WindowRecord {
  return {
    dispatchKey: row.dispatch_key,
    schedule: row.schedule,
    scope: row.scope,
    tenantId: row.tenant_id,
    windowStart: row.window_start,
    windowSeconds: row.window_seconds,
    lane: row.lane,
    status: row.status,
    owner: row.owner,
    correlationId: row.correlation_id,
    claimCount: row.claim_count,
    duplicateCount: row.duplicate_count,
    failureCount: row.failure_count,
    lastError: row.last_error,
    leaseExpiresAt: row.lease_expires_at,
    enqueuedAt: row.enqueued_at,
    params: row.params,
    events: row.events,
    fanOut: row.fan_out,
    repairCount: row.repair_count,
  };
}

/** The parameters that describe a window. */
export type WindowParameter =
  | "dispatchKey"
  | "schedule"
  | "scope"
  | "tenantId"
  | "windowStart"
  | "windowSeconds"
  | "lane"
  | "owner"
  | "correlationId"
  | "params";

/** Returns a window's parameters as its statements take them. */
export function describeWindow(window: StartedWindow): Record<WindowParameter, SqlValue> {
  return {
    dispatchKey: window.dispatchKey,
    schedule: window.schedule,
    scope: window.scope,
    tenantId: window.tenantId ?? null,
    windowStart: window.windowStart.toISOString(),
    windowSeconds: window.windowSeconds,
    lane: window.lane,
    owner: window.owner,
    correlationId: toStorableText(window.correlationId),
    params: encodeStorable(window.params),
  };
}
