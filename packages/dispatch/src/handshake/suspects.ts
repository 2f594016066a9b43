import type { HostRecord } from "@evenkeel/ledger";

import type { HandshakeEvidence } from "./evidence.ts";

/** What can keep a handshake from coming back. */
export type SuspectCause =
  | "signature_refused"
  | "function_not_registered"
  | "app_served_elsewhere"
  | "wrong_environment"
  | "lane_unserved"
  | "ledger_read_only"
  | "concurrency_full"
  | "clock_skew"
  | "egress_blocked"
  | "event_key_refused"
  | "calls_not_arriving"
  | "old_sdk";

/** A likely cause, with what speaks for it. It holds no tenant's data, no secret and no payload. */
export interface Suspect {
  readonly cause: SuspectCause;
  /** `certain`: seen as it happened. `likely`: the traces fit. `possible`: nothing speaks against it. */
  readonly likelihood: "certain" | "likely" | "possible";
  /** What was seen, in one sentence. */
  readonly evidence: string;
  /** What to do about it, in one sentence. */
  readonly remedy: string;
}

/** A suspect's place: the higher comes first. */
interface Finding {
  readonly weight: number;
  readonly likelihood: Suspect["likelihood"];
  readonly evidence: string;
}

type Rule = (evidence: HandshakeEvidence) => Finding | undefined;

const remedies: Readonly<Record<SuspectCause, string>> = {
  ledger_read_only:
    "Point DATABASE_URL at the primary, and run SELECT evenkeel.grant_to('<user>') as the tables' owner.",
  egress_blocked:
    "Let this host reach Inngest: check INNGEST_BASE_URL or INNGEST_DEV, DNS, proxy and firewall.",
  event_key_refused: "Set INNGEST_EVENT_KEY to a key of this environment.",
  clock_skew: "Set the clocks right: synchronise the hosts by NTP.",
  signature_refused:
    "Set INNGEST_SIGNING_KEY to the key of this environment, without anything before or after it, and restart the host.",
  lane_unserved:
    "Start a host that serves functions in this lane, or set BACKGROUND_JOBS_SERVE_FUNCTIONS so that one does.",
  wrong_environment:
    "Give every host the same INNGEST_ENV, and keys of that environment: INNGEST_EVENT_KEY and INNGEST_SIGNING_KEY.",
  function_not_registered:
    "Sync the app: send a PUT to the host's /api/inngest, or register its URL with Inngest.",
  app_served_elsewhere:
    "Let one address serve the app: set BACKGROUND_JOBS_SERVE_FUNCTIONS to one host, and sync that one again.",
  old_sdk: "Deploy this build, with its Inngest SDK, to the host that serves functions.",
  concurrency_full:
    "Look for runs that hang, and cancel them; else raise BACKGROUND_JOBS_INNGEST_CONCURRENCY or add hosts.",
  calls_not_arriving:
    "Let Inngest reach the host: check INNGEST_SERVE_ORIGIN, DNS, and what stands before /api/inngest.",
};

/** A signature is good for five minutes, and so is a clock. */
const maxSkewMs = 300_000;

/** The first SDK whose functions these are. */
const oldestSdk = 4;

const rules: Readonly<Record<SuspectCause, Rule>> = {
  ledger_read_only: ({ writeRefusal, ledger }) => {
    if (writeRefusal !== undefined) {
      return certain(100, `The ledger refused a write: ${writeRefusal}.`);
    }
    return ledger?.isReadOnly === true
      ? certain(100, "Postgres takes no writes: its transactions are read-only.")
      : undefined;
  },
  egress_blocked: ({ process, ledger, server }) => {
    const { sendFailure } = process;
    if (sendFailure?.reason === "unreachable") {
      return certain(98, `The newest send got no answer from Inngest (${sendFailure.code}).`);
    }
    if (server?.isReachable === false) {
      return likely(90, "Inngest's API does not answer this host.");
    }
    return /fetch failed|ECONN|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|timed? ?out|deadline/iu.test(
      ledger?.sendError ?? "",
    )
      ? likely(85, "The newest window's send failed without an answer from Inngest.")
      : undefined;
  },
  event_key_refused: ({ process, ledger }) => {
    const { sendFailure } = process;
    if (sendFailure?.reason === "refused") {
      return certain(97, `Inngest refused the newest send (HTTP ${sendFailure.code}).`);
    }
    return /Inngest API Error: 40[134]|event key/iu.test(ledger?.sendError ?? "")
      ? likely(85, "The newest window's send was refused by Inngest.")
      : undefined;
  },
  clock_skew: ({ process, ledger, since }) => {
    const refused = refusedSince(ledger?.hosts, since, "expired");
    if (refused !== undefined) {
      const skew = describeSkew(refused.signatureSkewMs ?? 0);
      return certain(
        96,
        `Calls were refused as their signatures' time is ${skew} the host's clock.`,
      );
    }
    if (isSkewed(process.serverSkewMs, maxSkewMs)) {
      return likely(70, `Inngest's clock is ${describeSkew(process.serverSkewMs)} this host's.`);
    }
    const host = (ledger?.hosts ?? []).find(
      ({ isLive, databaseSkewMs }) => isLive && isSkewed(databaseSkewMs, maxSkewMs),
    );
    return host === undefined
      ? undefined
      : possible(40, `Postgres' clock is ${describeSkew(host.databaseSkewMs ?? 0)} a host's.`);
  },
  signature_refused: ({ ledger, since, server }) => {
    const refused = refusedSince(ledger?.hosts, since, "signature");
    if (refused !== undefined) {
      return certain(95, `${describeHost(refused)} refused Inngest's calls: invalid signature.`);
    }
    return server?.runs?.some(({ callError }) => callError === "unauthorized") === true
      ? certain(95, "Inngest's calls are answered 401 Unauthorized.")
      : undefined;
  },
  wrong_environment: ({ ledger, lane, environment, server }) => {
    const live = liveHosts(ledger?.hosts, lane);
    if (live.length > 0 && live.every((host) => host.environment !== environment)) {
      const others = [...new Set(live.map((host) => host.environment))].join(", ");
      return certain(94, `Events are sent to ${environment}; functions are served in ${others}.`);
    }
    return server?.runs === null
      ? likely(93, `Inngest took the event, and does not have it in ${environment}.`)
      : undefined;
  },
  lane_unserved: ({ ledger, lane, server }) => {
    if (ledger === undefined || liveHosts(ledger.hosts, lane).length > 0) return undefined;
    // A host of an older build serves without being registered.
    const hasRun = server?.runs?.some(({ status }) => status === "Completed") === true;
    if (ledger.startedSince !== null || hasRun) return undefined;
    const last = ledger.hosts.find((host) => host.lane === lane);
    return last === undefined
      ? likely(93, `No host has served functions in the lane ${lane} for a day.`)
      : certain(
          93,
          `No host serves the lane ${lane}: the last one's lease ended at ${last.leaseExpiresAt}.`,
        );
  },
  function_not_registered: ({ server, appId, functionId, ledger, lane }) => {
    const live = liveHosts(ledger?.hosts, lane);
    if (server?.functions === null) {
      return certain(live.length > 0 ? 92 : 60, `Inngest does not know the app ${appId}.`);
    }
    if (server?.functions?.every(({ id }) => id !== functionId) === true) {
      return certain(92, `Inngest knows ${appId} without the function ${functionId}.`);
    }
    const isCalled = live.some(({ calledAt }) => calledAt !== null);
    return server?.functions === undefined && live.length > 0 && !isCalled
      ? possible(50, "Inngest has never called the hosts that serve.")
      : undefined;
  },
  app_served_elsewhere: ({ server, ledger, lane, environment, functionId, since, process }) => {
    const live = liveHosts(ledger?.hosts, lane).filter((host) => host.environment === environment);
    const urls = [...new Set(live.map(({ serveUrl }) => serveUrl).filter((url) => url !== ""))];
    const registered = server?.functions?.find(({ id }) => id === functionId)?.url;
    const isCalled = live.some(({ calledAt }) => calledAt !== null && new Date(calledAt) > since);
    if (registered !== undefined && urls.length > 0 && !urls.includes(registered) && !isCalled) {
      return certain(91, `Inngest calls ${registered}; the live hosts serve ${urls.join(", ")}.`);
    }
    if (urls.length > 1)
      return likely(75, `${urls.length} addresses serve it: ${urls.join(", ")}.`);
    const others = process.otherAddresses ?? [];
    return others.length > 0
      ? likely(75, `Beside this host the app is served at ${others.join(", ")}.`)
      : undefined;
  },
  old_sdk: ({ server, ledger, missing }) => {
    const major = Number(/v?(\d+)\./u.exec(server?.sdk ?? "")?.[1] ?? Number.NaN);
    if (major < oldestSdk) {
      return certain(90, `The app is registered by an SDK of version ${server?.sdk}.`);
    }
    if (missing !== "handshake") return undefined;
    if (ledger !== undefined && ledger.startedSince !== null) {
      return likely(90, "A maintenance run started and made no mark: its host's build is older.");
    }
    return server?.runs?.some(({ status }) => status === "Completed") === true
      ? likely(89, "A maintenance run completed and made no mark: its host's build is older.")
      : undefined;
  },
  concurrency_full: ({ ledger, server, limits, missing, functionId }) => {
    const full = (ledger?.running ?? []).find(
      (busy) =>
        busy.running >= (limits[busy.functionId] ?? Number.POSITIVE_INFINITY) &&
        (missing === "work" || busy.functionId === functionId),
    );
    if (full === undefined) return undefined;
    const { functionId: id, running, since } = full;
    const isQueued = server?.runs?.some(({ status }) => status === "Queued") === true;
    const text = `All ${running} places of ${id} have been taken since ${since}.`;
    return isQueued ? certain(88, `${text} The event's run is queued.`) : likely(80, text);
  },
  calls_not_arriving: ({ server, ledger, lane, since }) => {
    if (server?.runs?.some(({ callError }) => callError === "unreachable") === true) {
      return certain(86, "Inngest cannot reach the host that serves.");
    }
    const live = liveHosts(ledger?.hosts, lane);
    const isCalled = live.some(({ calledAt }) => calledAt !== null && new Date(calledAt) > since);
    return live.length > 0 && !isCalled && server?.isReachable !== false
      ? possible(30, "The hosts that serve have not been called since.")
      : undefined;
  },
};

/** Ranks what can keep a handshake from coming back, the likeliest first. What nothing speaks for is left out. */
export function rankSuspects(evidence: HandshakeEvidence): Suspect[] {
  return causes
    .flatMap((cause) => {
      const finding = rules[cause](evidence);
      return finding === undefined ? [] : [{ cause, ...finding }];
    })
    .toSorted((one, other) => other.weight - one.weight)
    .map(({ cause, likelihood, evidence: seen }) => ({
      cause,
      likelihood,
      evidence: seen,
      remedy: remedies[cause],
    }));
}

const causes: readonly SuspectCause[] = [
  "ledger_read_only",
  "egress_blocked",
  "event_key_refused",
  "clock_skew",
  "signature_refused",
  "wrong_environment",
  "lane_unserved",
  "function_not_registered",
  "app_served_elsewhere",
  "old_sdk",
  "concurrency_full",
  "calls_not_arriving",
];

function certain(weight: number, evidence: string): Finding {
  return { weight, likelihood: "certain", evidence };
}

function likely(weight: number, evidence: string): Finding {
  return { weight, likelihood: "likely", evidence };
}

function possible(weight: number, evidence: string): Finding {
  return { weight, likelihood: "possible", evidence };
}

function liveHosts(hosts: readonly HostRecord[] | undefined, lane: string): HostRecord[] {
  return (hosts ?? []).filter((host) => host.isLive && host.lane === lane);
}

/** The live host that refused a call for this reason since then, unless a call was accepted after it. */
function refusedSince(
  hosts: readonly HostRecord[] | undefined,
  since: Date,
  refusal: HostRecord["refusal"],
): HostRecord | undefined {
  const live = (hosts ?? []).filter(({ isLive }) => isLive);
  const accepted = Math.max(...live.map(({ calledAt }) => timeOf(calledAt)));
  return live.find((host) => {
    const refusedMs = timeOf(host.refusedAt);
    // Inngest may have synced before it was sent anything.
    return (
      host.refusal === refusal && refusedMs > since.getTime() - maxSkewMs && refusedMs > accepted
    );
  });
}

function timeOf(text: string | null): number {
  return text === null ? Number.NEGATIVE_INFINITY : Date.parse(text);
}

function describeHost({ serveUrl, build }: HostRecord): string {
  const named = serveUrl === "" ? "A host" : `The host at ${serveUrl}`;
  return build === "" ? named : `${named} (build ${build})`;
}

function isSkewed(skewMs: number | null | undefined, maxMs: number): skewMs is number {
  return skewMs !== undefined && skewMs !== null && Math.abs(skewMs) > maxMs;
}

function describeSkew(skewMs: number): string {
  const seconds = Math.round(Math.abs(skewMs) / 1_000);
  return `${seconds} s ${skewMs < 0 ? "behind" : "ahead of"}`;
}
