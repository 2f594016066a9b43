import { execFile } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";

import type { Finding, Repository } from "../repository.ts";
import { hasClaims } from "./claims.ts";
import { fenceModules, type FenceModule, type Surroundings } from "./fence-modules.ts";
import { uncompiledFences } from "./fences.ts";
import { readModuleNames } from "./module-names.ts";

/** A README with TypeScript in it, and the modules that its fences became. */
export interface ReadmeProgram {
  readonly readme: string;
  /** The folder of the generated modules, relative to the repository. */
  readonly folder: string;
  readonly modules: readonly FenceModule[];
  /** Whether a line of it claims what it gives, so that it has to run. */
  readonly hasClaims: boolean;
}

const checks = "tooling/checks";
const sceneFolder = `${checks}/src/readme/scenes`;
const compiled = `${checks}/.cache/readme-code`;
const readmes = /^(?:(?:packages|apps|tooling)\/[^/]+\/)?README\.md$/u;

/** Compiles the TypeScript of every README against the packages' sources, and finds what does not compile. */
export async function checkReadmeCode(repository: Repository): Promise<Finding[]> {
  const programs = await writeReadmePrograms(repository, compiled);
  const output = await compile(repository.root);
  const findings = [...output.matchAll(/^(\S+?)\((\d+),\d+\): error TS\d+: (.*)$/gmu)].map(
    ([, file = "", line, message = ""]) => locate(programs, file, Number(line), message),
  );
  findings.push(...(await findUncompiled(repository)));
  if (findings.length > 0 || output === "") return findings;
  return [{ file: `${compiled}/tsconfig.json`, problem: output, fix: "Run pnpm install." }];
}

/** Finds fences that would never be compiled. */
async function findUncompiled(repository: Repository): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const file of repository.files.filter((name) => readmes.test(name))) {
    for (const line of uncompiledFences(await repository.read(file))) {
      const problem = "A fence of code in this form is not compiled.";
      findings.push({ file, line, problem, fix: "Write it as ```ts, at the start of its line." });
    }
  }
  return findings;
}

/**
 * Writes the modules of every README that has TypeScript.
 *
 * @param folder Where to, relative to the repository and ignored by git. It is emptied first.
 */
export async function writeReadmePrograms(
  repository: Repository,
  folder: string,
): Promise<ReadmeProgram[]> {
  await rm(join(repository.root, folder), { recursive: true, force: true });
  const exported = await readExports(repository);
  const programs: ReadmeProgram[] = [];
  for (const readme of repository.files.filter((file) => readmes.test(file))) {
    const program = await readProgram(repository, readme, folder, exported);
    if (program.modules.length === 0) continue;
    programs.push(program);
    await mkdir(join(repository.root, program.folder), { recursive: true });
    for (const { name, code } of program.modules) {
      await writeFile(join(repository.root, program.folder, `${name}.ts`), code);
    }
  }
  return programs;
}

async function readProgram(
  repository: Repository,
  readme: string,
  parent: string,
  exported: Surroundings["exports"],
): Promise<ReadmeProgram> {
  const name = dirname(readme) === "." ? "repository" : dirname(readme).replace("/", "-");
  const folder = `${parent}/${name}`;
  const importedAs = (file: string): string => relative(folder, file);
  const scenes = await Promise.all(
    [`${sceneFolder}/${name}.ts`, `${sceneFolder}/product.ts`]
      .filter((file) => repository.files.includes(file))
      .map(async (file) => ({
        names: readModuleNames(await repository.read(file)),
        specifier: importedAs(file),
      })),
  );
  const modules = fenceModules(await repository.read(readme), {
    scenes,
    exports: exported,
    claimSpecifier: importedAs(`${checks}/src/readme/check-claim.ts`),
  });
  return { readme, folder, modules, hasClaims: modules.some(({ fence }) => hasClaims(fence)) };
}

/** What the packages' main entries export, by name. */
async function readExports(repository: Repository): Promise<Surroundings["exports"]> {
  const exported = new Map<string, { package: string; isType: boolean }>();
  for (const file of repository.files) {
    const name = /^packages\/([^/]+)\/src\/index\.ts$/u.exec(file)?.[1];
    if (name === undefined) continue;
    for (const [key, { isType }] of readModuleNames(await repository.read(file)).exported) {
      exported.set(key, { package: `@evenkeel/${name}`, isType });
    }
  }
  return exported;
}

/** Returns the compiler's output: empty when everything compiles. */
async function compile(root: string): Promise<string> {
  const folder = join(root, compiled);
  await mkdir(folder, { recursive: true });
  const config = {
    extends: relative(folder, join(root, "tsconfig.base.json")),
    compilerOptions: {
      noEmit: true,
      isolatedDeclarations: false,
      declaration: false,
      noUnusedLocals: false,
      // As an app's bundler resolves it: Next names no exports.
      paths: { "next/server": ["../../node_modules/next/server.d.ts"] },
    },
    include: ["**/*.ts"],
  };
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(config));
  const tsc = join(root, "node_modules", ".bin", "tsc");
  const options = ["--project", join(compiled, "tsconfig.json"), "--pretty", "false"];
  const run = promisify(execFile)(tsc, options, { cwd: root, maxBuffer: 1 << 26 });
  return run.then(
    ({ stdout }) => stdout.trim(),
    (error: unknown) =>
      error instanceof Error && "stdout" in error ? String(error.stdout) : String(error),
  );
}

/** Translates the compiler's place in a generated module to the README's line. */
function locate(
  programs: readonly ReadmeProgram[],
  file: string,
  line: number,
  message: string,
): Finding {
  for (const { readme, folder, modules } of programs) {
    const module = modules.find(({ name }) => file === `${folder}/${name}.ts`);
    if (module === undefined) continue;
    const fix = `Mend the fence, or declare what the reader's product has in ${sceneFolder}/product.ts.`;
    // The first line holds the generated imports.
    const readmeLine = module.fence.line + Math.max(line - 2, 0);
    return { file: readme, line: readmeLine, problem: message, fix };
  }
  return { file, line, problem: message, fix: "Mend it: the code of a README stands on it." };
}
