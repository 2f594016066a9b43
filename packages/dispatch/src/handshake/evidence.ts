import type { Lane } from "@evenkeel/core";
import type { LedgerEvidence } from "@evenkeel/ledger";

/** Why the newest send of this process failed. */
export interface SendFailure {
  /** `unreachable`: no answer came. `refused`: Inngest answered, and took nothing. */
  readonly reason: "unreachable" | "refused";
  /** The error's code, such as `ECONNREFUSED`, or the answer's status. Never an address or a key. */
  readonly code: string;
}

/** What this process saw by itself. */
export interface ProcessEvidence {
  /** Absent: the newest send succeeded, or there was none. */
  readonly sendFailure?: SendFailure;
  /** How far the clock of Inngest's answers runs ahead of this host's, in milliseconds. */
  readonly serverSkewMs?: number;
  /** Other addresses that serve the same app now, as this host heard when it registered; absent: none. */
  readonly otherAddresses?: readonly string[];
}

/** A function as the Inngest server knows it. */
export interface ServerFunction {
  /** Its full id, `<app>-<function>`. */
  readonly id: string;
  /** The address that it is called at, without a query; absent where the server's API does not say. */
  readonly url?: string;
}

/** A run of the handshake's event as the Inngest server shows it. */
export interface ServerRun {
  /** `Queued`, `Running`, `Completed`, `Failed` or `Cancelled`. */
  readonly status: string;
  /** The status of an HTTP answer that its error names, or a phrase that says what went wrong with the call. */
  readonly callError?: "unauthorized" | "unreachable";
}

/** What the Inngest server's API says. Each part is absent where the server does not say it. */
export interface ServerView {
  /** Whether it answered at all. */
  readonly isReachable: boolean;
  /** The app's functions; `null`: the server does not know the app. */
  readonly functions?: readonly ServerFunction[] | null;
  /** The SDK that registered the app: `js:v4.24.0`. */
  readonly sdk?: string;
  /** Runs of the handshake's event; `null`: the server has no such event. */
  readonly runs?: readonly ServerRun[] | null;
}

/** Everything that is known of why a handshake does not come back. */
export interface HandshakeEvidence {
  readonly appId: string;
  readonly lane: Lane;
  /** The environment of the host that asks. */
  readonly environment: string;
  /** Since when nothing comes back. */
  readonly since: Date;
  /** What was sent and does not come back: the handshake, or a window's work. */
  readonly missing: "handshake" | "work";
  /** Concurrent runs that each function may have, by its full id. */
  readonly limits: Readonly<Record<string, number>>;
  /** The full id of the function that the handshake starts. */
  readonly functionId: string;
  /** Why the ledger refused this process's newest write; absent: it took it. */
  readonly writeRefusal?: string;
  /** Absent: the ledger could not be read. */
  readonly ledger?: LedgerEvidence;
  readonly process: ProcessEvidence;
  /** Absent: the server was not asked. */
  readonly server?: ServerView;
}
