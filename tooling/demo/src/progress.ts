import { progressLine, type Snapshot } from "./progress-line.ts";

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
    show: (snapshot) => {
      if (isTerminal) {
        // One column stays free: a full line would wrap, and the next write would not erase it.
        const line = progressLine(seconds(), snapshot, (stream.columns || 80) - 1);
        stream.write(`\r\u001B[2K${line}`);
        hasOpenLine = true;
      } else if (performance.now() - lastPlainMs > plainEveryMs) {
        lastPlainMs = performance.now();
        stream.write(`${progressLine(seconds(), snapshot, Number.POSITIVE_INFINITY)}\n`);
      }
    },
  };
}
