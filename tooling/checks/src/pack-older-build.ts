import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { z } from "zod";

/*
 * Packs core, ledger and jobs as they were at a commit, built, into one tarball: an older build for the tests that run it
 * beside the present schema.
 *
 *   node tooling/checks/src/pack-older-build.ts <commit> <name>
 *
 * It writes src/older-builds/<name>.tgz.
 */
const root = join(import.meta.dirname, "..", "..", "..");
const [commit, name] = process.argv.slice(2);
if (commit === undefined || name === undefined || !/^[a-z-]+$/u.test(name)) {
  throw new Error("Usage: node tooling/checks/src/pack-older-build.ts <commit> <name>");
}

const work = mkdtempSync(join(tmpdir(), "evenkeel-older-build-"));
try {
  const source = join(work, "source");
  const packed = join(work, "packed");
  mkdirSync(source);
  const parts = ["packages/core", "packages/ledger", "packages/jobs", "prisma"];
  const archive = execFileSync("git", ["archive", commit, "tsconfig.base.json", ...parts], {
    cwd: root,
    maxBuffer: 1 << 28,
  });
  execFileSync("tar", ["x", "-C", source], { input: archive });
  symlinkSync(join(root, "node_modules"), join(source, "node_modules"));
  execFileSync(process.execPath, [join(source, "packages", "ledger", "scripts", "generate.ts")]);
  for (const part of ["core", "ledger", "jobs"]) pack(join(source, "packages", part), part);
  const file = join(import.meta.dirname, "older-builds", `${name}.tgz`);
  const reproducible = "--sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner".split(" ");
  execFileSync("tar", [...reproducible, "-czf", file, "-C", packed, "."]);

  /** Builds a package as it is published, without what a type checker or a debugger reads. */
  function pack(folder: string, part: string): void {
    const target = join(packed, "@evenkeel", part);
    const options = ["--format", "esm", "--target", "node22", "--silent"];
    execFileSync(
      join(root, "node_modules", ".bin", "tsup"),
      ["src/index.ts", ...options, "--out-dir", join(target, "dist")],
      { cwd: folder },
    );
    const text = readFileSync(join(folder, "package.json"), "utf8");
    const manifest = z.looseObject({ publishConfig: z.looseObject({}) }).parse(JSON.parse(text));
    const published = { ...manifest, ...manifest.publishConfig };
    writeFileSync(join(target, "package.json"), `${JSON.stringify(published, null, 2)}\n`);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
