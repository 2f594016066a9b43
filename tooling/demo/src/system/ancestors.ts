import { readFileSync } from "node:fs";

/**
 * The processes that started this one on someone's behalf: the package manager, and the shell in which it
 * runs a script. They do not always hand a signal on, but their end means that nobody waits any more.
 * Empty where there is no /proc.
 */
export function findStarters(): number[] {
  const starters: number[] = [];
  for (let pid = process.ppid; pid > 1 && starters.length < 6;) {
    const status = readStatus(pid);
    if (status === undefined || !isStarter(status.command)) break;
    starters.push(pid);
    pid = status.parent;
  }
  return starters;
}

/** Whether a process still runs. */
export function isRunning(pid: number): boolean {
  return readStatus(pid) !== undefined;
}

function isStarter(command: string): boolean {
  return /^(?:\S*\/)?(?:(?:sh|dash|bash) -c |(?:node|npm|npx|pnpm)\b)/u.test(command);
}

function readStatus(
  pid: number,
): { readonly parent: number; readonly command: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (state === "Z") return undefined;
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\u0000", " ");
    return { parent: Number(parent), command };
  } catch {
    return undefined;
  }
}
