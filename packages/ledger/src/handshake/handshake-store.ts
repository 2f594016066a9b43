import type { Lane } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { registerHost, type HostRegistration } from "../hosts/host.ts";
import { readEvidence, type LedgerEvidence } from "./handshake-evidence.ts";
import {
  beginHandshake,
  markHandshakeBack,
  noteHandshake,
  readHandshake,
  type HandshakeReading,
  type SentHandshake,
} from "./handshake.ts";

/** Whether what is sent comes back, and who serves the functions that it starts. Each method is one statement. */
export interface HandshakeStore {
  /** Returns where a lane's handshake stands. */
  read(lane: Lane): Promise<HandshakeReading>;
  /**
   * Notes the handshake that a host sends as it starts. `false`: another host sends, or has sent, the one of this
   * dispatch key, and nothing is to be sent.
   */
  begin(sent: SentHandshake): Promise<boolean>;
  /** Notes that a maintenance event was sent apart from a window. What a window sends is noted with its outcome. */
  noteSent(sent: SentHandshake): Promise<void>;
  /** Marks a handshake back: its run has reached the ledger. */
  markBack(back: Pick<SentHandshake, "lane" | "dispatchKey">): Promise<void>;
  /** Returns what the ledger knows of why a lane's handshake does not come back. */
  evidence(of: { readonly appId: string; readonly lane: Lane }): Promise<LedgerEvidence>;
  /**
   * Registers a host that serves functions, or renews its lease. Returns the other addresses that serve the same app in
   * the same environment now: there should be none.
   */
  registerHost(registration: HostRegistration): Promise<string[]>;
}

/** Creates the handshake's store on a connection pool. */
export function createHandshakeStore(sql: SqlClient): HandshakeStore {
  return {
    read: (lane) => readHandshake(sql, lane),
    begin: (sent) => beginHandshake(sql, sent),
    noteSent: (sent) => noteHandshake(sql, sent),
    markBack: (back) => markHandshakeBack(sql, back),
    evidence: (of) => readEvidence(sql, of),
    registerHost: (registration) => registerHost(sql, registration),
  };
}
