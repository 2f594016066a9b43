import { extname, join } from "node:path";

import { lintSource } from "@secretlint/core";
import { creator } from "@secretlint/secretlint-rule-preset-recommend";

import type { Finding, Repository } from "../repository.ts";

const id = "@secretlint/secretlint-rule-preset-recommend";
const config = { rules: [{ id, rule: creator, options: {} }] };
/** The password of every test that shows how messages are redacted. A real one is never that. */
const sample = ":hunter2@";
const binary = /\.(?:png|jpe?g|gif|ico|woff2?|gz|zip|pdf)$/iu;

/** Scans every tracked and new file for tokens, keys and passwords. A finding never repeats the secret. */
export async function checkSecrets(repository: Repository): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const file of repository.files.filter((name) => !binary.test(name))) {
    findings.push(...(await scan(repository.root, file, await repository.read(file))));
  }
  return findings;
}

async function scan(root: string, file: string, content: string): Promise<Finding[]> {
  const { messages } = await lintSource({
    source: { filePath: join(root, file), content, contentType: "text", ext: extname(file) },
    options: { config, maskSecrets: true, noPhysicFilePath: true },
  });
  const real = messages.filter(({ range }) => !content.slice(...range).includes(sample));
  return real.map(({ loc, message }) => ({
    file,
    line: loc.start.line,
    problem: `secretlint ${message}.`,
    fix: "Take it out and revoke it: what was committed once is known. In a test, write the password hunter2.",
  }));
}
