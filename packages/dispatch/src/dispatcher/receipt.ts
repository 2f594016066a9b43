import type { Lane } from "@evenkeel/core";

import type { HandshakeReport } from "../handshake/handshake-watch.ts";

/** What became of a tick. */
export type DispatchMode =
  | "dispatch-only"
  | "dispatch-duplicate-suppressed"
  | "dispatch-failed"
  | "inline-emergency-fallback"
  | "inline-forced"
  | "paused"
  | "skipped-overlap"
  | "ledger-not-ready"
  | "idle"
  | "not-configured";

/** What became of a tick, in full. It is also the body of the HTTP response. */
export interface Receipt {
  readonly mode: DispatchMode;
  readonly schedule: string;
  readonly dispatchKey: string;
  /** ISO 8601, UTC. */
  readonly windowStart: string;
  readonly windowSeconds: number;
  readonly lane: Lane;
  readonly correlationId: string;
  /** Whether the ledger holds this outcome. `false`: it was unavailable, or the claim had expired. */
  readonly tracking: boolean;
  /** The ids under which events were sent; empty when nothing was. */
  readonly eventIds: readonly string[];
  /** For a duplicate: where the window stood, and under which correlation id it was claimed. */
  readonly duplicateOf?: { readonly status: string; readonly correlationId: string };
  /** Why it failed, was refused or was paused: one line without secrets or payloads. */
  readonly reason?: string;
  /** What inline work reported. */
  readonly inline?: unknown;
  /** Present while what is sent does not come back: since when, and why. */
  readonly handshake?: HandshakeReport;
}

const statuses: Readonly<Record<DispatchMode, number>> = {
  "dispatch-only": 202,
  "dispatch-duplicate-suppressed": 200,
  "dispatch-failed": 503,
  "inline-emergency-fallback": 200,
  "inline-forced": 200,
  paused: 200,
  "skipped-overlap": 200,
  "ledger-not-ready": 503,
  idle: 200,
  "not-configured": 503,
};

/** Returns the HTTP status of a receipt's response. */
export function receiptStatus(receipt: Pick<Receipt, "mode">): number {
  return statuses[receipt.mode];
}
