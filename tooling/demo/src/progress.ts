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

/** Tells what happens: one line that changes on a terminal, plain lines elsewhere. */
export interface Progress {
  say(text: string): void;
  show(snapshot: Snapshot): void;
  /** Ends the changing line. */
  end(): void;
}

const plainEveryMs = 5_000;

/** Creates a {@link Progress} on a stream. */
export function createProgress(stream: NodeJS.WriteStream): Progress {
  const startedAtMs = performance.now();
  const isTerminal = stream.isTTY;
  let lastPlainMs = 0;
  let hasOpenLine = false;
  const seconds = (): string =>
    `${((performance.now() - startedAtMs) / 1000).toFixed(0)} s`.padStart(5);
  const end = (): void => {
    if (hasOpenLine) stream.write("\n");
    hasOpenLine = false;
  };
  return {
    end,
    say: (text) => {
      end();
      stream.write(`${seconds()}  ${text}\n`);
    },
    show: ({ jobs, runs, windows, ticks }) => {
      const line = [
        seconds(),
        ` windows ${windows}`,
        `ticks ${ticks.sent} (${ticks.suppressed} duplicate, ${ticks.failed} failed)`,
        `runs under way ${runs}`,
        `jobs due ${jobs.due}, scheduled ${jobs.scheduled}, running ${jobs.running}, done ${jobs.succeeded}, retried ${jobs.retried}, dead ${jobs.dead}`,
      ].join("  ");
      if (isTerminal) {
        const fitted = line.slice(0, (stream.columns || 120) - 1);
        stream.write(`\r\u001B[2K${fitted}`);
        hasOpenLine = true;
      } else if (performance.now() - lastPlainMs > plainEveryMs) {
        lastPlainMs = performance.now();
        stream.write(`${line}\n`);
      }
    },
  };
}
