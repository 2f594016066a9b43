import { basename } from "node:path/posix";

import type { Finding } from "../repository.ts";

/** Names that say where something was put, not what it is. */
const buckets = new Set([
  "base",
  "common",
  "constants",
  "general",
  "helper",
  "helpers",
  "interfaces",
  "lib",
  "libs",
  "misc",
  "shared",
  "stuff",
  "type",
  "types",
  "util",
  "utilities",
  "utility",
  "utils",
]);
const code = /\.(?:tsx?|mts|cts|mjs|cjs|jsx?|sql|css)$/u;

/** Finds files and folders that are named like a bucket: `utils.ts`, `orderHelpers.ts`, `shared/`, `job-utils/`. */
export function checkFileNames(files: readonly string[]): Finding[] {
  const findings = new Map<string, Finding>();
  const note = (path: string, name: string): void => {
    findings.set(path, {
      file: path,
      problem: `"${name}" names a bucket: it says where things were put, not what they are.`,
      fix: "Name it after the noun that it owns.",
    });
  };
  for (const file of files.filter((name) => code.test(name))) {
    const folders = file.split("/").slice(0, -1);
    for (const [index, folder] of folders.entries()) {
      if (isBucket(folder)) note(folders.slice(0, index + 1).join("/"), folder);
    }
    // `job-types.test.ts` is named job-types.
    const name = basename(file).replace(/\..*$/u, "");
    if (isBucket(name)) note(file, name);
  }
  return [...findings.values()];
}

/** The last word decides, however words are joined: `job-utils`, `job_utils`, `jobUtils` and `_utils` alike. */
function isBucket(name: string): boolean {
  const words = name.replaceAll(/([a-z\d])([A-Z])/gu, "$1-$2").match(/[A-Za-z\d]+/gu) ?? [];
  return buckets.has((words.at(-1) ?? "").toLowerCase());
}
