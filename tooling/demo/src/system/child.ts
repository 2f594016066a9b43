import { spawn, type ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";

/** A process of the demo. */
export interface Child {
  readonly name: string;
  readonly pid: number;
  /** The last lines that it wrote, for the day it fails. */
  lastLines(): string;
  readonly hasEnded: boolean;
  /** Resolves with the exit code; `null` after a signal. */
  readonly ended: Promise<number | null>;
  kill(signal: NodeJS.Signals): void;
  /** Asks it to end, and makes it end after five seconds. */
  stop(): Promise<void>;
}

const patienceMs = 5_000;

/** Starts a process with nothing of this one's environment but what a program needs to run. */
export function startChild({
  name,
  command,
  args,
  cwd,
  environment,
  keptLines = 20,
}: {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly keptLines?: number;
}): Child {
  const { PATH = "", HOME = "", TMPDIR } = process.env;
  const child = spawn(command, args, {
    cwd,
    env: { PATH, HOME, ...(TMPDIR === undefined ? {} : { TMPDIR }), ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  const keep = (chunk: Buffer): void => {
    lines.push(
      ...chunk
        .toString("utf8")
        .split("\n")
        .filter((line) => line !== ""),
    );
    lines.splice(0, Math.max(0, lines.length - keptLines));
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  const ended = new Promise<number | null>((resolve) => {
    child.once("exit", resolve);
    child.once("error", (error) => {
      lines.push(error.message);
      resolve(1);
    });
  });
  return {
    name,
    pid: child.pid ?? -1,
    lastLines: () => lines.join("\n"),
    get hasEnded() {
      return hasEnded(child);
    },
    ended,
    kill: (signal) => void child.kill(signal),
    stop: async () => {
      if (hasEnded(child)) return;
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), patienceMs);
      await ended;
      clearTimeout(timer);
    },
  };
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}

/** Waits until a URL responds with 200. @throws Error when the process ends or the time is up. */
export async function waitUntilUp(child: Child, url: string, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  for (;;) {
    signal.throwIfAborted();
    const isUp = await fetch(url, { signal: AbortSignal.timeout(2_000) }).then(
      (response) => response.status === 200,
      () => false,
    );
    if (isUp) return;
    if (child.hasEnded || performance.now() > deadlineMs) {
      throw new Error(`${child.name} did not come up at ${url}:\n${child.lastLines()}`);
    }
    await sleep(100);
  }
}

/**
 * Halts a process while it is at work. A look and then a kill would race with the end of the work, so the
 * process is halted first and looked at again. Gives up after 30 seconds without work.
 */
export async function haltAtWork(
  child: Child,
  isAtWork: () => Promise<boolean>,
  signal: AbortSignal,
): Promise<void> {
  const deadlineMs = performance.now() + 30_000;
  while (performance.now() < deadlineMs) {
    if (await isAtWork()) {
      child.kill("SIGSTOP");
      // The database still does what it was asked before.
      await sleep(200, undefined, { signal });
      if (await isAtWork()) return;
      child.kill("SIGCONT");
    }
    await sleep(5, undefined, { signal });
  }
}
