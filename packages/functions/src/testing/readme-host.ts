import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { Background } from "../background.ts";

/** A route of a Next app: a handler for each method. */
export type Route = Readonly<Record<string, (request: Request) => Promise<Response>>>;

/** The host that the repository's README shows, as modules that run. */
export interface ReadmeHost {
  readonly background: Background<[Request, unknown], Promise<Response>>;
  /** The catch-all route. */
  readonly routes: Route;
  /** Where the product enqueues. */
  readonly greetings: Route;
  /** Removes the files. */
  remove(): Promise<void>;
}

const packageRoot = join(import.meta.dirname, "..", "..");
const hostFile = "background.ts";

/** Writes the files that the README shows under `// <path>.ts` as they are, and imports them. */
export async function loadReadmeHost(): Promise<ReadmeHost> {
  const readme = await readFile(join(packageRoot, "..", "..", "README.md"), "utf8");
  const files = shownFiles(readme);
  const cache = join(packageRoot, ".cache");
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, "readme-"));
  for (const [name, code] of files) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, resolveImports(code, folder));
  }
  const load = <Module>(name: string): Promise<Module> => importAs<Module>(join(folder, name));
  const { background } = await load<Pick<ReadmeHost, "background">>(hostFile);
  return {
    background,
    routes: await load<Route>("app/api/[...background]/route.ts"),
    greetings: await load<Route>("app/api/greetings/route.ts"),
    remove: () => rm(folder, { recursive: true }),
  };
}

/** What Next resolves: the app's own files under `@/`, and itself. */
function resolveImports(code: string, folder: string): string {
  return code
    .replaceAll(/(?<=from ")@\/([^"]+)(?=")/gu, (_alias, path: string) =>
      join(folder, `${path}.ts`),
    )
    .replaceAll(/(?<=from ")next\/server(?=")/gu, join(import.meta.dirname, "next-server.ts"));
}

/** The files of the fences of "Adopt it" that begin with a path, by path. */
function shownFiles(readme: string): Map<string, string> {
  const [, section = ""] = /^## Adopt it\n(.*?)^## /msu.exec(readme) ?? [];
  const files = new Map<string, string>();
  for (const [, fence = ""] of section.matchAll(/^```ts\n(.*?)^```/gmsu)) {
    const [, ...parts] = fence.split(/^\/\/ (\S+\.ts)$/mu);
    for (let index = 0; index < parts.length; index += 2) {
      files.set(parts[index] ?? "", parts[index + 1] ?? "");
    }
  }
  return files;
}

/** What a README's file exports is known by its text alone; the test that uses it would fail otherwise. */
async function importAs<Module>(path: string): Promise<Module> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- see above
  return (await import(/* @vite-ignore */ path)) as Module;
}
