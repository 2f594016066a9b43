import { posix } from "node:path";

import type { Finding, Repository } from "../repository.ts";

const link = /\]\((?!https?:|mailto:|#)([^)#\s]+)[^)]*\)/gu;

/** Finds links of Markdown files to files and folders of the repository that do not exist. */
export async function checkMarkdownLinks({ files, read }: Repository): Promise<Finding[]> {
  const known = new Set(files);
  // A folder is known by the files in it.
  for (const file of files) {
    for (let folder = posix.dirname(file); folder !== "."; folder = posix.dirname(folder)) {
      known.add(folder);
    }
  }
  const findings: Finding[] = [];
  for (const file of files.filter((name) => name.endsWith(".md"))) {
    for (const [index, line] of (await read(file)).split("\n").entries()) {
      for (const [, target = ""] of line.matchAll(link)) {
        const path = posix.join(posix.dirname(file), decodeURI(target)).replace(/\/$/u, "");
        if (known.has(path)) continue;
        const problem = `The link to ${target} leads nowhere.`;
        findings.push({ file, line: index + 1, problem, fix: "Name the file as it is now." });
      }
    }
  }
  return findings;
}
