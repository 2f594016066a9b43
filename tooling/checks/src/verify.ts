import { spawn } from "node:child_process";
import { join } from "node:path";

import { checkLayout } from "./layout.ts";

/** The static checks: no database, no build, no network. `pnpm verify` runs them all and names what failed. */
interface Check {
  readonly name: string;
  readonly run: () => Promise<{ readonly ok: boolean; readonly output: string }>;
}

const root = join(import.meta.dirname, "..", "..", "..");
const configs = "tooling/checks";

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
  {
    name: "boundaries",
    run: async () => {
      const config = `${configs}/dependency-cruiser.config.mjs`;
      const result = await execute("depcruise", [
        "--config",
        config,
        "--cache",
        ".cache/dependency-cruiser",
        "--cache-strategy",
        "content",
        "packages",
        "apps",
        "tooling",
      ]);
      // Without a compiler that it knows, it finds no modules and calls that a success.
      const modules = Number(/(\d+) modules/u.exec(result.output)?.[1] ?? 0);
      if (modules > 100) return result;
      return { ok: false, output: `${result.output}\nOnly ${modules} modules were looked at.` };
    },
  },
  command(
    "unused code",
    "knip",
    "--config",
    `${configs}/knip.json`,
    "--cache",
    "--cache-location",
    ".cache/knip",
  ),
  command("workspace", "sherif"),
  {
    name: "layout",
    run: async () => {
      const problems = await checkLayout(root);
      return { ok: problems.length === 0, output: problems.join("\n") };
    },
  },
];

function command(name: string, program: string, ...args: string[]): Check {
  return { name, run: () => execute(program, args) };
}

async function execute(
  program: string,
  args: readonly string[],
): Promise<{ ok: boolean; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(join(root, "node_modules", ".bin", program), args, {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const parts: Buffer[] = [];
    const keep = (part: Buffer): void => void parts.push(part);
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", (error) => resolve({ ok: false, output: error.message }));
    child.on("close", (code) =>
      resolve({ ok: code === 0, output: Buffer.concat(parts).toString("utf8").trim() }),
    );
  });
}

const startedAtMs = performance.now();

async function report({ name, run }: Check): Promise<boolean> {
  const result = await run();
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
  console.log(`${result.ok ? "ok    " : "FAILED"}  ${name} (${seconds} s)`);
  if (!result.ok) console.log(result.output);
  return result.ok;
}

// It generates what the others read, so they wait for it.
const typed = await report(types);
const results = [typed, ...(await Promise.all(checks.map(report)))];
const failed = results.filter((ok) => !ok).length;
console.log(`${results.length - failed} checks passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
