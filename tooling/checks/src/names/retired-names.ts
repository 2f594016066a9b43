import { readFileSync } from "node:fs";
import { join, matchesGlob } from "node:path/posix";

import { z } from "zod";

import type { Finding, Repository } from "../repository.ts";
import { namesOf, type CodeName } from "./code-names.ts";

/** One line of the list: names that are no longer used, and what to write instead. */
export interface RetiredName {
  /** Whole names: `restMs` matches that identifier alone. */
  readonly names: readonly string[];
  /** Words of names: `lease holder` matches `LeaseHolder`, `lease_holder` and `job.lease_holder`. */
  readonly words: readonly string[];
  /** What to write instead. */
  readonly use: string;
  /** Globs of the files where they are retired; everywhere without them. */
  readonly in?: readonly string[] | undefined;
  /** Globs of files that may keep them; none without them. */
  readonly except?: readonly string[] | undefined;
}

const texts = z.array(z.string());
const entrySchema = z.strictObject({
  names: texts.default([]),
  words: texts.default([]),
  use: z.string(),
  in: texts.optional(),
  except: texts.optional(),
});
const listSchema = z.strictObject({ retired: z.array(entrySchema) });

const list = "tooling/checks/retired-names.json";

/** Reads the committed list. */
export function readRetiredNames(root: string): readonly RetiredName[] {
  return listSchema.parse(JSON.parse(readFileSync(join(root, list), "utf8"))).retired;
}

/** Finds identifiers, SQL names, log events and file names that the list retires. */
export async function checkRetiredNames(repository: Repository): Promise<Finding[]> {
  const retired = readRetiredNames(repository.root);
  const findings: Finding[] = [];
  for (const file of repository.files) {
    if (file === list || !/\.(?:[mc]?[jt]sx?|sql|prisma|json|md)$/u.test(file)) continue;
    const here = retired.filter((entry) => appliesTo(entry, file));
    if (here.length === 0) continue;
    const text = await repository.read(file);
    findings.push(...findRetired(here, file, text));
  }
  return findings;
}

/** Finds the retired names of one file's text. */
export function findRetired(
  retired: readonly RetiredName[],
  file: string,
  text: string,
): Finding[] {
  const seen = new Set<string>();
  const entries = new Map<string, RetiredName | undefined>();
  return namesOf(file, text).flatMap((name) => {
    if (!entries.has(name.text)) {
      entries.set(
        name.text,
        retired.find((candidate) => isRetired(candidate, name)),
      );
    }
    const entry = entries.get(name.text);
    if (entry === undefined) return [];
    const line = name.offset < 0 ? undefined : text.slice(0, name.offset).split("\n").length;
    const key = `${line ?? ""} ${name.text}`;
    if (seen.has(key)) return [];
    seen.add(key);
    const where = line === undefined ? { file } : { file, line };
    return [{ ...where, problem: `"${name.text}" is a retired name.`, fix: `Use ${entry.use}.` }];
  });
}

function appliesTo(entry: RetiredName, file: string): boolean {
  const matches = (glob: string): boolean => matchesGlob(file, glob);
  return (entry.in?.some(matches) ?? true) && !(entry.except?.some(matches) ?? false);
}

function isRetired(entry: RetiredName, { text }: CodeName): boolean {
  if (entry.names.includes(text)) return true;
  if (entry.words.length === 0) return false;
  const words = ` ${wordsOf(text)} `;
  return entry.words.some((word) => words.includes(` ${word} `));
}

const wordsByName = new Map<string, string>();

/** `leaseKeeper`, `lease_keeper` and `lease.keeper` are all `lease keeper`. */
function wordsOf(name: string): string {
  const known = wordsByName.get(name) ?? splitName(name);
  wordsByName.set(name, known);
  return known;
}

function splitName(name: string): string {
  return name
    .replaceAll(/([a-z\d])([A-Z])/gu, "$1 $2")
    .replaceAll(/([A-Z])([A-Z][a-z])/gu, "$1 $2")
    .split(/[^A-Za-z\d]+/u)
    .join(" ")
    .trim()
    .toLowerCase();
}
