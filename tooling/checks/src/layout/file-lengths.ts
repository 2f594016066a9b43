import type { Finding, Repository } from "../repository.ts";

const maxLines = 400;
const source = /\.(?:[mc]?[jt]sx?|css|sql|prisma|sh)$/u;

/** Finds source files, tests and tools among them, of more than 400 lines. */
export async function checkFileLengths({ files, read }: Repository): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const file of files.filter((name) => source.test(name))) {
    const lines = (await read(file)).split("\n").length - 1;
    if (lines <= maxLines) continue;
    findings.push({
      file,
      problem: `It has ${lines} lines; the limit is ${maxLines}.`,
      fix: "Move one of its nouns into a file of its own.",
    });
  }
  return findings;
}
