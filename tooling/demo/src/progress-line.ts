import type { JobCounts } from "@evenkeel/ledger";

import type { TickCounts } from "./ticks.ts";

/** What the progress line shows. */
export interface Snapshot {
  readonly jobs: JobCounts;
  /** Function runs under way. */
  readonly runs: number;
  readonly windows: number;
  readonly ticks: TickCounts;
}

/**
 * Returns the line about a snapshot: the fullest that is at most `width` characters wide. What a narrow terminal loses
 * first are the parts of the ticks, then the words; the last to go is what is done.
 */
export function progressLine(time: string, snapshot: Snapshot, width: number): string {
  const lines = variants(snapshot).map((text) => `${time}  ${text}`);
  return lines.find((line) => line.length <= width) ?? (lines.at(-1) ?? "").slice(0, width);
}

function variants({ jobs, runs, windows, ticks }: Snapshot): string[] {
  const done = `done ${jobs.succeeded}`;
  const ends = `retried ${jobs.retried}, dead ${jobs.dead}`;
  const waiting = `due ${jobs.due}, scheduled ${jobs.scheduled}, running ${jobs.running}`;
  return [
    `windows ${windows}  ticks ${ticks.sent} (${ticks.suppressed} duplicate, ${ticks.failed} failed)  runs under way ${runs}  jobs ${waiting}, ${done}, ${ends}`,
    `windows ${windows}  ticks ${ticks.sent}  runs ${runs}  jobs ${waiting}, ${done}, ${ends}`,
    `runs ${runs}  ${waiting}, ${done}, dead ${jobs.dead}`,
    `due ${jobs.due}, later ${jobs.scheduled}, running ${jobs.running}, ${done}`,
    `due ${jobs.due}, running ${jobs.running}, ${done}`,
    done,
  ];
}
