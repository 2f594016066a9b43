import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** A program that runs until it is stopped, with all that it starts, and writes to a file. */
export interface Service {
  readonly name: string;
  readonly logPath: string;
  readonly hasEnded: boolean;
  /** Resolves with the exit code; `null` after a signal. */
  readonly ended: Promise<number | null>;
  /** Ends the program and all that it started: asks first, and makes them end after five seconds. */
  stop(): Promise<void>;
}

const patienceMs = 5_000;

/** Starts a program in a group of its own, so that what it starts ends with it. */
export function startService({
  name,
  args,
  cwd,
  environment,
  logPath,
}: {
  readonly name: string;
  /** The arguments of Node. */
  readonly args: readonly string[];
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly logPath: string;
}): Service {
  const { PATH = "", HOME = "", TMPDIR } = process.env;
  const log = openSync(logPath, "w");
  const child = spawn(process.execPath, args, {
    cwd,
    detached: true,
    env: { PATH, HOME, ...(TMPDIR === undefined ? {} : { TMPDIR }), ...environment },
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  const ended = new Promise<number | null>((resolve) => {
    child.once("exit", resolve);
    child.once("error", () => resolve(1));
  });
  return {
    name,
    logPath,
    get hasEnded() {
      return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
    },
    ended,
    stop: () => stopGroup(child),
  };
}

async function stopGroup({ pid }: ChildProcess): Promise<void> {
  if (pid === undefined) return;
  for (let waitedMs = 0; signalGroup(pid, 0); waitedMs += 50) {
    if (waitedMs === 0) signalGroup(pid, "SIGTERM");
    if (waitedMs === patienceMs) signalGroup(pid, "SIGKILL");
    await sleep(50);
  }
}

/** Whether anything of a group was there to get the signal. */
function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Waits until a URL answers with 200. @throws Error with the log's last lines when the program ends. */
export async function untilUp(service: Service, url: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const answers = await fetch(url, { signal: AbortSignal.timeout(60_000) }).then(
      (response) => response.status === 200,
      () => false,
    );
    if (answers) return;
    if (service.hasEnded) {
      const lines = (await readFile(service.logPath, "utf8")).trim().split("\n").slice(-20);
      throw new Error(`${service.name} ended before it answered at ${url}:\n${lines.join("\n")}`);
    }
    await sleep(200);
  }
}
