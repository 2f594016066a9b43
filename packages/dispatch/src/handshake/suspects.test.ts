import type { HostRecord, LedgerEvidence } from "@evenkeel/ledger";
import fc from "fast-check";
import { expect, test } from "vitest";

import type { HandshakeEvidence, ServerView } from "./evidence.ts";
import { rankSuspects, type SuspectCause } from "./suspects.ts";

const since = new Date("2026-01-01T12:00:00Z");
const before = "2026-01-01T11:59:00Z";
const after = "2026-01-01T12:00:05Z";

const host: HostRecord = {
  appId: "shop",
  serveUrl: "https://worker.example/api/inngest",
  lane: "stable",
  environment: "production",
  build: "b1",
  sdk: "inngest@4.24.0",
  registeredAt: before,
  leaseExpiresAt: "2026-01-01T12:01:00Z",
  isLive: true,
  calledAt: before,
  refusedAt: null,
  refusal: null,
  signatureSkewMs: 0,
  databaseSkewMs: 0,
};

const ledger: LedgerEvidence = {
  isReadOnly: false,
  hosts: [host],
  running: [],
  startedSince: null,
  sendError: null,
};

const server: ServerView = {
  isReachable: true,
  functions: [{ id: "shop-background-maintenance", url: host.serveUrl }],
  sdk: "js:v4.24.0",
  runs: [{ status: "Running" }],
};

const evidence: HandshakeEvidence = {
  appId: "shop",
  lane: "stable",
  environment: "production",
  since,
  missing: "handshake",
  limits: { "shop-background-maintenance": 1, "shop-process-background-jobs": 4 },
  functionId: "shop-background-maintenance",
  ledger,
  process: {},
  server,
};

function withHost(change: Partial<HostRecord>): HandshakeEvidence {
  return { ...evidence, ledger: { ...ledger, hosts: [{ ...host, ...change }] } };
}

function withServer(change: Partial<ServerView>): HandshakeEvidence {
  return { ...evidence, server: { ...server, ...change } };
}

const busy = (functionId: string, running: number): HandshakeEvidence => ({
  ...evidence,
  ledger: { ...ledger, running: [{ functionId, running, since: before }] },
});

const { server: _server, ...unasked } = evidence;

test.each<[string, SuspectCause, HandshakeEvidence]>([
  ["a refused write", "ledger_read_only", { ...evidence, writeRefusal: "read-only" }],
  [
    "a database that is read-only",
    "ledger_read_only",
    { ...evidence, ledger: { ...ledger, isReadOnly: true } },
  ],
  [
    "a send without an answer",
    "egress_blocked",
    { ...evidence, process: { sendFailure: { reason: "unreachable", code: "ECONNREFUSED" } } },
  ],
  ["an API without an answer", "egress_blocked", { ...unasked, server: { isReachable: false } }],
  [
    "another host's send without an answer",
    "egress_blocked",
    { ...evidence, ledger: { ...ledger, sendError: "TypeError: fetch failed" } },
  ],
  [
    "a send that was refused",
    "event_key_refused",
    { ...evidence, process: { sendFailure: { reason: "refused", code: "401" } } },
  ],
  [
    "a call that was refused for its age",
    "clock_skew",
    withHost({ refusedAt: after, refusal: "expired", signatureSkewMs: -600_000 }),
  ],
  [
    "a server whose clock is ahead",
    "clock_skew",
    { ...evidence, process: { serverSkewMs: 400_000 } },
  ],
  [
    "a call that was refused",
    "signature_refused",
    withHost({ refusedAt: after, refusal: "signature" }),
  ],
  [
    "a run that failed with 401",
    "signature_refused",
    withServer({ runs: [{ status: "Failed", callError: "unauthorized" }] }),
  ],
  ["hosts of another environment", "wrong_environment", withHost({ environment: "staging" })],
  ["an event that the server does not have", "wrong_environment", withServer({ runs: null })],
  ["a lease that ended", "lane_unserved", withHost({ isLive: false })],
  ["a host of another lane", "lane_unserved", withHost({ lane: "canary" })],
  [
    "an app that the server does not know",
    "function_not_registered",
    withServer({ functions: null }),
  ],
  [
    "an app without the function",
    "function_not_registered",
    withServer({ functions: [{ id: "shop-other" }] }),
  ],
  [
    "a server without an API, and hosts that were never called",
    "function_not_registered",
    {
      ...unasked,
      ledger: { ...ledger, hosts: [{ ...host, calledAt: null }] },
      server: { isReachable: true },
    },
  ],
  [
    "an address that is no live host's",
    "app_served_elsewhere",
    withServer({
      functions: [{ id: "shop-background-maintenance", url: "https://old.example/api/inngest" }],
    }),
  ],
  [
    "two addresses, and a server without an API",
    "app_served_elsewhere",
    {
      ...unasked,
      ledger: { ...ledger, hosts: [host, { ...host, serveUrl: "https://web.example/api" }] },
    },
  ],
  ["an app of an older SDK", "old_sdk", withServer({ sdk: "js:v3.22.1" })],
  [
    "a run that started without a mark",
    "old_sdk",
    { ...evidence, ledger: { ...ledger, hosts: [], startedSince: after } },
  ],
  [
    "a run that completed without a mark",
    "old_sdk",
    withServer({ runs: [{ status: "Completed" }] }),
  ],
  [
    "maintenance that takes its only place",
    "concurrency_full",
    busy("shop-background-maintenance", 1),
  ],
  [
    "work that takes every place",
    "concurrency_full",
    { ...busy("shop-process-background-jobs", 4), missing: "work" },
  ],
  [
    "a run that cannot reach its host",
    "calls_not_arriving",
    withServer({ runs: [{ status: "Failed", callError: "unreachable" }] }),
  ],
])("%s: %s comes first", (_name, cause, given) => {
  const [first] = rankSuspects(given);
  expect(first).toMatchObject({ cause, evidence: expect.stringMatching(/[.]$/u) });
  expect(first?.remedy).not.toBe("");
});

test("places that are taken by others' work do not hold the handshake", () => {
  const suspects = rankSuspects(busy("shop-process-background-jobs", 4));
  expect(suspects.map(({ cause }) => cause)).not.toContain("concurrency_full");
});

test("a refusal that an accepted call followed is no suspect", () => {
  const suspects = rankSuspects(
    withHost({ refusedAt: before, refusal: "signature", calledAt: after }),
  );
  expect(suspects.map(({ cause }) => cause)).not.toContain("signature_refused");
});

test("with nothing known there is no suspect but that no host serves, and nothing throws", () => {
  expect(rankSuspects({ ...unasked, ledger: { ...ledger, hosts: [] } })).toMatchObject([
    { cause: "lane_unserved" },
  ]);
  const { ledger: _ledger, ...blind } = unasked;
  expect(rankSuspects(blind)).toEqual([]);
});

test("no suspect repeats what may hold a tenant's data or a secret", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z]{12}$/u), (planted) => {
      const suspects = rankSuspects({
        ...evidence,
        ledger: { ...ledger, sendError: `fetch failed for tenant ${planted}` },
      });
      expect(suspects).not.toEqual([]);
      expect(JSON.stringify(suspects)).not.toContain(planted);
    }),
  );
});
