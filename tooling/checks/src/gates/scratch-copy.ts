import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
} from "node:fs";
import { symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { openRepository } from "../repository.ts";

/** A copy of the working tree that may be broken. */
export interface ScratchCopy extends Disposable {
  readonly root: string;
  /** Writes files, and returns what puts their old state back. A text is a file's whole content. */
  readonly plant: (files: Readonly<Record<string, string | Edit>>) => Disposable;
}

/** Changes a file's text. */
export type Edit = (text: string) => string;

/** Copies tracked and new files and what was generated. Installed packages are linked, not copied. */
export async function copyRepository(root: string): Promise<ScratchCopy> {
  const scratch = mkdtempSync(join(tmpdir(), "evenkeel-gates-"));
  const { files } = await openRepository(root);
  for (const file of files) copy(root, scratch, file);
  for (const group of ["packages", "apps", "tooling"]) {
    for (const name of readdirSync(join(root, group))) {
      copy(root, scratch, join(group, name, "node_modules"));
      copy(root, scratch, join(group, name, "src", "generated"));
    }
  }
  symlinkSync(join(root, "node_modules"), join(scratch, "node_modules"));
  execFileSync("git", ["init", "--quiet"], { cwd: scratch });
  return {
    root: scratch,
    plant: (planted) => plant(scratch, planted),
    [Symbol.dispose]: () => rmSync(scratch, { recursive: true, force: true }),
  };
}

function copy(root: string, scratch: string, path: string): void {
  if (!existsSync(join(root, path))) return;
  // Links stay as they are: those among packages then point into the copy.
  cpSync(join(root, path), join(scratch, path), { recursive: true, verbatimSymlinks: true });
}

function plant(root: string, files: Readonly<Record<string, string | Edit>>): Disposable {
  const old = Object.keys(files).map((file): [path: string, text: string | undefined] => {
    const path = join(root, file);
    return [path, existsSync(path) ? readFileSync(path, "utf8") : undefined];
  });
  for (const [index, change] of Object.values(files).entries()) {
    const [path = "", text = ""] = old[index] ?? [];
    const changed = typeof change === "string" ? change : change(text);
    if (changed === text) throw new Error(`The change of ${path} changes nothing. Mend the trial.`);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, changed);
  }
  return {
    [Symbol.dispose]: () => {
      for (const [path, text] of old) {
        if (text === undefined) rmSync(path);
        else writeFileSync(path, text);
      }
    },
  };
}
