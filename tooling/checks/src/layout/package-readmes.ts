import type { Finding, Repository } from "../repository.ts";

/** Finds packages, apps and tools without a README that opens with a title and a sentence. */
export async function checkPackageReadmes({ files, read }: Repository): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const file of files) {
    const folder = /^((?:packages|apps|tooling)\/[^/]+)\/package\.json$/u.exec(file)?.[1];
    if (folder === undefined) continue;
    const readme = `${folder}/README.md`;
    const text = files.includes(readme) ? await read(readme) : "";
    if (/^# .+\n\n[A-Z`].{20,}/u.test(text)) continue;
    findings.push({
      file: readme,
      problem: "The package has no README that opens with its purpose.",
      fix: "Start it with its name as title, an empty line and one sentence.",
    });
  }
  return findings;
}
