import type { DemoRun } from "./demo.ts";
import type { TickCounts } from "./ticks.ts";

/** One claim of the demo, and whether it holds. */
export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** What `demo --json` prints as its last line. */
export interface DemoResult {
  readonly engine: string;
  readonly durationMs: number;
  readonly ticks: TickCounts;
  readonly windows: { readonly total: number; readonly dispatched: number; readonly lost: number };
  readonly jobs: {
    readonly enqueued: number;
    readonly succeeded: number;
    readonly retried: number;
    readonly dead: number;
    readonly lost: number;
    readonly doubleSent: number;
  };
  readonly runs: {
    readonly total: number;
    readonly failed: number;
    readonly duplicateForWindow: number;
  };
  readonly deadLetters: { readonly open: number };
  readonly checks: readonly Check[];
}

/** Draws the conclusions from a run. */
export function conclude(run: DemoRun): DemoResult {
  const { cron, observation } = run;
  const { ledger, jobs, inbox, enqueued } = observation;
  const { windows, counts: ticks } = cron;
  const unsettled = jobs.due + jobs.scheduled + jobs.running;
  const lostJobs = enqueued - jobs.succeeded - jobs.dead - jobs.cancelled + observation.unaccounted;
  const enqueuedWindows = ledger.windows.byStatus.ENQUEUED ?? 0;
  const { idleWindows } = cron;
  const lostWindows = windows.length - idleWindows - enqueuedWindows + ledger.windows.neverStarted;
  const failedRuns = ledger.runs.byStatus.FAILED ?? 0;
  const cancelledRuns = ledger.runs.byStatus.CANCELLED ?? 0;
  const openRuns = ledger.runs.byStatus.RUNNING ?? 0;
  const oftenDispatched = windows.filter(({ dispatched }) => dispatched > 1).length;
  const byRepairOnly = windows.filter(({ dispatched }) => dispatched === 0).length - idleWindows;
  const unexpected = windows.flatMap((window) => window.unexpected);

  const checks: Check[] = [
    ...handshakeChecks(run),
    {
      name: "every window was dispatched once, or had nothing to do",
      ok:
        windows.length > 0 &&
        oftenDispatched === 0 &&
        byRepairOnly <= observation.repaired &&
        enqueuedWindows + idleWindows === windows.length,
      detail: `${enqueuedWindows} of ${windows.length} windows on record as sent, ${idleWindows} idle, ${oftenDispatched} by two ticks, ${byRepairOnly} by the reconciler alone`,
    },
    {
      name: "every other tick was a duplicate, idle, or is answered 503",
      ok: unexpected.length === 0 && ticks.sent >= 3 * windows.length,
      detail:
        unexpected.length === 0
          ? `${ticks.sent} ticks: ${ticks.dispatched} dispatched, ${ticks.suppressed} duplicate, ${ticks.idle} idle, ${ticks.failed} failed`
          : unexpected.slice(0, 3).join(" | "),
    },
    {
      name: "no window was lost",
      ok: lostWindows === 0,
      detail: `${lostWindows} lost, ${ledger.windows.neverStarted} sent and never started`,
    },
    {
      name: "ticks failed while Inngest was away, and their windows were dispatched later",
      ok: run.outageTicksFailed > 0 && ledger.windows.failures > 0,
      detail: `${run.outageTicksFailed} answers 503, ${ledger.windows.failures} failed sends on record`,
    },
    {
      name: "no two runs did one window's work",
      ok: ledger.runs.duplicateForWindow === 0,
      detail: `${ledger.runs.total} runs, ${ledger.runs.byStatus.SKIPPED_DUPLICATE ?? 0} ended as duplicates by the guard`,
    },
    {
      name: "every run ended and is on record",
      ok: openRuns === 0 && failedRuns === 0 && cancelledRuns === 0 && ledger.runs.total > 0,
      detail: `${ledger.runs.byStatus.SUCCEEDED ?? 0} succeeded, ${failedRuns} failed, ${openRuns} open`,
    },
    {
      name: "the Inngest server lost its memory, and every window was repaired",
      ok: observation.repaired > 0 && observation.abandoned === 0,
      detail: `${observation.repaired} windows sent again, ${ledger.runs.byStatus.STALE ?? 0} silent runs, ${observation.abandoned} windows not taken over`,
    },
    {
      name: "no job was lost and none settled twice",
      ok: unsettled === 0 && lostJobs === 0 && observation.settledTwice === 0,
      detail: `${enqueued} enqueued = ${jobs.succeeded} succeeded + ${jobs.dead} dead; ${observation.settledTwice} settled twice`,
    },
    {
      name: "every e-mail is answered, ignored or in the dead letters",
      ok:
        observation.unaccounted === 0 && inbox.messages === run.ingested && inbox.unprocessed === 0,
      detail: `${inbox.messages} e-mails of ${inbox.tenants} tenants: ${inbox.sent} answered, ${inbox.ignored} ignored, ${jobs.dead} dead`,
    },
    {
      name: "no reply was sent twice",
      ok: inbox.doubleSent === 0 && inbox.inconsistent === 0 && inbox.sent > 0,
      detail: `${inbox.sent} replies, ${inbox.doubleSent} sent or tried twice`,
    },
    {
      name: "failures were retried, hopeless ones are in the dead letters",
      ok: jobs.retried > 0 && jobs.dead > 0 && ledger.deadLetters.open === jobs.dead + failedRuns,
      detail: `${jobs.retried} retries, ${ledger.deadLetters.open} open dead letters`,
    },
    {
      name: "the killed worker's work was finished by another",
      ok: run.workersUsed === 2 && observation.recovered > 0,
      detail: `${observation.recovered} jobs taken over after their lease`,
    },
    {
      name: "the input was large enough",
      ok: inbox.messages >= 2_000 && inbox.tenants >= 10,
      detail: `${inbox.messages} real e-mails, ${inbox.tenants} tenants`,
    },
  ];
  return {
    engine: run.engine,
    durationMs: run.durationMs,
    ticks,
    windows: { total: windows.length, dispatched: enqueuedWindows, lost: lostWindows },
    jobs: {
      enqueued,
      succeeded: jobs.succeeded,
      retried: jobs.retried,
      dead: jobs.dead,
      lost: lostJobs,
      doubleSent: inbox.doubleSent,
    },
    runs: {
      total: ledger.runs.total,
      failed: failedRuns,
      duplicateForWindow: ledger.runs.duplicateForWindow,
    },
    deadLetters: { open: ledger.deadLetters.open },
    checks,
  };
}

function handshakeChecks({ handshake: { roundTripMs, named } }: DemoRun): Check[] {
  const checks: Check[] = [
    {
      name: "the handshake of a host that starts came back",
      ok: roundTripMs !== undefined,
      detail: roundTripMs === undefined ? "it did not" : `in ${roundTripMs} ms`,
    },
  ];
  if (named === undefined) return checks;
  const { cause, afterMs } = named;
  checks.push({
    name: "a wrong signing key was named by the handshake",
    ok: cause === "signature_refused",
    detail: `${cause} after ${(afterMs / 1_000).toFixed(1)} s`,
  });
  return checks;
}

/** The result as a table for people. */
export function formatResult(result: DemoResult): string {
  const width = Math.max(...result.checks.map(({ name }) => name.length));
  const rows = result.checks.map(
    ({ name, ok, detail }) => `  ${ok ? "ok    " : "FAILED"}  ${name.padEnd(width)}  ${detail}`,
  );
  const { ticks, windows, jobs, runs, deadLetters } = result;
  return [
    "",
    `Inngest server  ${result.engine}`,
    `Duration        ${(result.durationMs / 1000).toFixed(1)} s`,
    `Ticks           ${ticks.sent} sent, ${ticks.dispatched} dispatched, ${ticks.suppressed} suppressed, ${ticks.idle} idle, ${ticks.failed} failed`,
    `Windows         ${windows.total}, ${windows.lost} lost`,
    `Jobs            ${jobs.enqueued} enqueued, ${jobs.succeeded} succeeded, ${jobs.retried} retried, ${jobs.dead} dead, ${jobs.lost} lost, ${jobs.doubleSent} sent twice`,
    `Runs            ${runs.total}, ${runs.failed} failed, ${runs.duplicateForWindow} for a window that another run did`,
    `Dead letters    ${deadLetters.open} open`,
    "",
    ...rows,
    "",
  ].join("\n");
}
