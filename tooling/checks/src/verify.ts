import { join } from "node:path";

import { runCommand, type CheckResult } from "./command.ts";
import { checkLayout } from "./layout/layout.ts";
import { checkRetiredNames } from "./names/retired-names.ts";
import { checkReadmeCode } from "./readme/readme-code.ts";
import { describeFinding, openRepository, type Finding, type Repository } from "./repository.ts";
import { checkSecrets } from "./secrets/secrets.ts";

/**
 * The static checks: no database, no build, no network. `pnpm verify` runs them all and names what failed;
 * `pnpm verify layout secrets` runs those two.
 */
interface Check {
  readonly name: string;
  readonly run: () => Promise<CheckResult>;
}

const root = join(import.meta.dirname, "..", "..", "..");
const configs = "tooling/checks";
const repository = openRepository(root);

/** It generates what the others read, so they wait for it. */
const types = command(
  "types",
  "turbo",
  "run",
  "typecheck",
  "--log-order=grouped",
  "--output-logs=errors-only",
);

const checks: readonly Check[] = [
  command("lint", "oxlint", "--type-aware", "--deny-warnings"),
  command("format", "oxfmt", "--check"),
  { name: "boundaries", run: checkBoundaries },
  command(
    "unused-code",
    "knip",
    "--config",
    `${configs}/knip.json`,
    "--cache",
    "--cache-location",
    ".cache/knip",
  ),
  command("workspace", "sherif"),
  findings("layout", checkLayout),
  findings("names", checkRetiredNames),
  findings("readme-code", checkReadmeCode),
  findings("secrets", checkSecrets),
];

function command(name: string, program = name, ...args: string[]): Check {
  return { name, run: () => runCommand(root, program, args) };
}

function findings(name: string, find: (repository: Repository) => Promise<Finding[]>): Check {
  return {
    name,
    run: async () => {
      const found = await find(await repository);
      return { ok: found.length === 0, output: found.map(describeFinding).join("\n") };
    },
  };
}

/** Circles, the arrows between packages, and the order of folders inside them. */
async function checkBoundaries(): Promise<CheckResult> {
  const config = `${configs}/dependency-cruiser.config.mjs`;
  const cache = ["--cache", ".cache/dependency-cruiser", "--cache-strategy", "content"];
  const options = ["--config", config, "--output-type", "err-long", ...cache];
  const result = await runCommand(root, "depcruise", [...options, "packages", "apps", "tooling"]);
  // Without a compiler that it knows, it finds no modules and calls that a success.
  const modules = Number(/(\d+) modules/u.exec(result.output)?.[1] ?? 0);
  if (modules > 100) return result;
  return { ok: false, output: `${result.output}\nOnly ${modules} modules were looked at.` };
}

const startedAtMs = performance.now();

async function report({ name, run }: Check): Promise<boolean> {
  const result = await run();
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
  console.log(`${result.ok ? "ok    " : "FAILED"}  ${name} (${seconds} s)`);
  if (!result.ok) console.log(result.output);
  return result.ok;
}

const asked = process.argv.slice(2);
const known = [types, ...checks].map(({ name }) => name);
const unknown = asked.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`There is no check named ${unknown.join(", ")}. There are: ${known.join(", ")}.`);
  process.exitCode = 1;
} else {
  const isAsked = ({ name }: Check): boolean => asked.length === 0 || asked.includes(name);
  const results = isAsked(types) ? [await report(types)] : [];
  results.push(...(await Promise.all(checks.filter(isAsked).map(report))));
  const failed = results.filter((ok) => !ok).length;
  console.log(`${results.length - failed} checks passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}
