import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

/** A checkout as the checks see it: its files' names, and their text once it is asked for. */
export interface Repository {
  readonly root: string;
  /** Tracked and new files, without what git ignores and without deleted ones; relative to `root`, sorted. */
  readonly files: readonly string[];
  /** Returns a file's text; reads it once. */
  readonly read: (file: string) => Promise<string>;
}

/** What one finding says: where, what is wrong, and what to do about it, as one line. */
export interface Finding {
  readonly file: string;
  /** Counted from 1; without one the finding is about the whole file or folder. */
  readonly line?: number;
  readonly problem: string;
  readonly fix: string;
}

/** Returns the finding as `file:line: problem Fix.` */
export function describeFinding({ file, line, problem, fix }: Finding): string {
  return `${file}${line === undefined ? "" : `:${line}`}: ${problem} ${fix}`;
}

/** Opens a checkout at its root folder. Throws when git cannot list it. */
export async function openRepository(root: string): Promise<Repository> {
  const texts = new Map<string, Promise<string>>();
  return {
    root,
    files: await listFiles(root),
    read: (file) => {
      const known = texts.get(file) ?? readFile(join(root, file), "utf8");
      texts.set(file, known);
      return known;
    },
  };
}

async function listFiles(root: string): Promise<string[]> {
  const git = async (...options: string[]): Promise<string[]> => {
    const run = promisify(execFile);
    const { stdout } = await run("git", ["ls-files", "-z", ...options], {
      cwd: root,
      maxBuffer: 1 << 26,
    });
    return stdout.split("\0").filter((file) => file !== "");
  };
  const [listed, deleted] = await Promise.all([
    git("--cached", "--others", "--exclude-standard"),
    git("--deleted"),
  ]);
  const gone = new Set(deleted);
  return [...new Set(listed)].filter((file) => !gone.has(file)).toSorted();
}
