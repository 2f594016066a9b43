import { readFile } from "node:fs/promises";

/** Seconds of CPU since the processes began. */
export interface CpuSeconds {
  /** Of this process. */
  readonly host: number;
  /** Of Postgres and all its backends; `undefined` where there is no /proc. */
  readonly postgres: number | undefined;
}

/** Reads what this process and a Postgres have used so far. */
export async function readCpu(postmasterPid: number): Promise<CpuSeconds> {
  const { user, system } = process.cpuUsage();
  return {
    host: (user + system) / 1_000_000,
    postgres: await readPostgres(postmasterPid).catch(() => undefined),
  };
}

/** The kernel's unit of /proc (USER_HZ). */
const ticksPerSecond = 100;

/** CPU of a process and of all its children, those that ended as well. */
async function readPostgres(pid: number): Promise<number> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  let ticks = await readTicks(pid, 4);
  for (const child of children.split(" ")) {
    // One may end in between; the parent then counts it among those that ended.
    if (child.trim() !== "") ticks += await readTicks(Number(child), 2).catch(() => 0);
  }
  return ticks / ticksPerSecond;
}

/** The fields utime, stime, and with four of them also cutime and cstime. */
async function readTicks(pid: number, fields: 2 | 4): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8");
  // The name, in parentheses, may hold blanks.
  const values = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return values.slice(11, 11 + fields).reduce((sum, value) => sum + Number(value), 0);
}
