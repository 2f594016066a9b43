import { basename, dirname } from "node:path/posix";

import type { Finding } from "../repository.ts";

const maxFiles = 20;
const maxOfOnePrefix = 3;
const source = /^(?:packages|apps|tooling)\/[^/]+\/src\/.*\.(?:tsx?|mjs)$/u;

/**
 * Finds folders that hold more than one noun: more than 20 files beside tests, or more than three files
 * that share a prefix of two words.
 */
export function checkFolders(files: readonly string[]): Finding[] {
  const folders = Map.groupBy(
    files.filter((file) => source.test(file) && !/\.test\.tsx?$/u.test(file)),
    dirname,
  );
  return [...folders].flatMap(([folder, members]) => [
    ...findCrowd(folder, members),
    ...findPrefixes(folder, members),
  ]);
}

function findCrowd(folder: string, members: readonly string[]): Finding[] {
  if (members.length <= maxFiles) return [];
  const problem = `The folder holds ${members.length} files beside its tests; the limit is ${maxFiles}.`;
  return [{ file: folder, problem, fix: "Give one of its nouns a folder." }];
}

function findPrefixes(folder: string, members: readonly string[]): Finding[] {
  const names = members.map((file) => basename(file).replace(/\..*$/u, "").split("-"));
  const prefixes = Map.groupBy(
    names.filter((words) => words.length >= 2),
    (words) => words.slice(0, 2).join("-"),
  );
  return [...prefixes]
    .filter(([, sharing]) => sharing.length > maxOfOnePrefix)
    .map(([prefix, sharing]) => ({
      file: folder,
      problem: `${sharing.length} of its files start with "${prefix}"; the limit is ${maxOfOnePrefix}.`,
      fix: `Make the folder ${folder}/${prefix}/ and drop the prefix.`,
    }));
}
