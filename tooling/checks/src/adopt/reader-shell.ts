import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

/** A shell in which a page's commands are typed, one after the other. */
export interface ReaderShell {
  /** Runs a line to its end, or starts it where it ends in `&`. Throws with all output where it fails. */
  run(line: string): Promise<void>;
  /** Waits until the output holds a text. Throws with all output when the time is over or the shell is gone. */
  waitFor(text: string | RegExp, timeoutMs: number): Promise<void>;
  /** All that was printed, by programs in the background too. */
  output(): string;
  /** Ends the shell and whatever it started. */
  close(): Promise<void>;
}

/** Opens a shell in a folder. Its programs are one group of processes, which `close` ends. */
export function openShell(cwd: string, env: NodeJS.ProcessEnv): ReaderShell {
  const shell = spawn("bash", ["--norc"], { cwd, env, detached: true });
  let output = "";
  let isOver = false;
  const note = (data: Buffer): void => void (output += data.toString());
  shell.stdout.on("data", note);
  shell.stderr.on("data", note);
  const exit = once(shell, "exit").then(() => (isOver = true));
  let count = 0;

  const waitFor: ReaderShell["waitFor"] = async (text, timeoutMs) => {
    const isThere = (): boolean =>
      typeof text === "string" ? output.includes(text) : text.test(output);
    const endMs = performance.now() + timeoutMs;
    while (!isThere()) {
      if (isOver || performance.now() > endMs) {
        throw new Error(`${String(text)} was not printed:\n${output.slice(-4_000)}`);
      }
      await sleep(50);
    }
  };
  return {
    waitFor,
    output: () => output,
    run: async (line) => {
      count += 1;
      // A program that reads its input would take the lines after it.
      shell.stdin.write(`{ ${line}\n} </dev/null\nprintf '\\n<line ${count} ended %s>\\n' $?\n`);
      await waitFor(new RegExp(`<line ${count} ended \\d+>`, "u"), longestMs);
      if (output.includes(`<line ${count} ended 0>`)) return;
      throw new Error(`"${line}" failed:\n${output.slice(-4_000)}`);
    },
    close: async () => {
      if (!isOver && shell.pid !== undefined) process.kill(-shell.pid, "SIGKILL");
      await exit;
    },
  };
}

/** For an installation through a slow network, in milliseconds. */
const longestMs = 1_200_000;
