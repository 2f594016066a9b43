import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";

import { countLines, findSection, readSections } from "./printed-page.ts";
import { openShell } from "./reader-shell.ts";

/** What a way in works with. */
export interface WayIn {
  readonly root: string;
  /** An empty folder outside the repository. */
  readonly folder: string;
  readonly databaseUrl: string;
  readonly env: NodeJS.ProcessEnv;
  /** Where our packages are. */
  readonly registryUrl: string;
}

/** What a step took. Whether it is mostly a matter of the network is told apart. */
export interface TimedStep {
  readonly name: string;
  readonly seconds: number;
  readonly isDownload: boolean;
}

/** What the way from an empty folder asks of its reader, and took. */
export interface QuickStart {
  readonly files: number;
  readonly lines: number;
  readonly steps: readonly TimedStep[];
}

const patienceMs = 600_000;

/**
 * Does what the README's "Adopt it" says, word by word, from an empty folder to the job's own line in the output.
 * What another machine has otherwise is put in its place: the address of the database, and ports that are free.
 */
export async function followQuickStart({
  root,
  folder,
  databaseUrl,
  env,
}: WayIn): Promise<QuickStart> {
  const page = await readFile(join(root, "README.md"), "utf8");
  const { files, commands } = findSection(readSections(page), "Adopt it");
  const [appPort, enginePort] = [await findFreePort(), await findFreePort()];
  const adapt = (line: string): string =>
    line
      .replace("postgresql://localhost:5432/shop", databaseUrl)
      .replace("INNGEST_DEV=1", `INNGEST_DEV=http://127.0.0.1:${enginePort}`)
      .replaceAll("localhost:3000", `localhost:${appPort}`)
      .replace("@evenkeel/engine dev", `@evenkeel/engine dev --port ${enginePort}`);
  const steps: TimedStep[] = [];
  const time = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    const startMs = performance.now();
    await work();
    console.log(`        ${name}`);
    const seconds = (performance.now() - startMs) / 1_000;
    const isDownload = /^(?:npx create-|npm install|pnpm add)/u.test(name);
    steps.push({ name, seconds, isDownload });
  };
  const shell = openShell(folder, { ...env, PORT: String(appPort) });
  const isShown = (line: string): boolean => !line.startsWith("export ");
  try {
    const [setup, use] = [commands.filter(isSetup), commands.filter((line) => !isSetup(line))];
    for (const line of setup) await time(line, () => shell.run(adapt(line)));
    const app = join(folder, "shop");
    for (const { path, code } of files) {
      await mkdir(dirname(join(app, path)), { recursive: true });
      await writeFile(join(app, path), code);
    }
    for (const line of use) {
      if (line.startsWith("curl")) await waitUntilUp(shell, time);
      await time(isShown(line) ? line : "export …", () => shell.run(adapt(line)));
    }
    await time("the job's line", () => shell.waitFor("Hello, Ada!", patienceMs));
  } finally {
    await shell.close();
  }
  await build(join(folder, "shop"), env);
  const lines = files.reduce((sum, file) => sum + countLines(file), 0);
  return { files: files.length, lines, steps };
}

/** Builds the app as a build machine does, which has none of its variables. */
async function build(app: string, env: NodeJS.ProcessEnv): Promise<void> {
  const shell = openShell(app, env);
  try {
    await shell.run("npx next build");
    console.log("        next build, without variables");
  } finally {
    await shell.close();
  }
}

/** What comes before the files. */
function isSetup(line: string): boolean {
  return /^(?:npx create-|npm install)/u.test(line);
}

async function waitUntilUp(
  shell: ReturnType<typeof openShell>,
  time: (name: string, work: () => Promise<unknown>) => Promise<void>,
): Promise<void> {
  await time("the app is ready", () => shell.waitFor("Ready in", patienceMs));
  await time("the engine knows the app", () => shell.waitFor(/synced \d+ functions/u, patienceMs));
}

/** A port of this machine that nobody listens on. */
export async function findFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("There is no free port.");
  return address.port;
}
