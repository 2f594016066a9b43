import { watch } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** Builds packages again as their sources change: one build at a time, and one more for what changed meanwhile. */
export interface Rebuilder {
  stop(): Promise<void>;
}

/** Editors write a file in several goes. */
const quietMs = 150;

/** Starts a {@link Rebuilder} over the packages in a folder. */
export async function startRebuilder(deps: {
  readonly folder: string;
  /** Builds packages by their folders' names; rejects with what went wrong. */
  readonly build: (names: readonly string[]) => Promise<void>;
  readonly say: (text: string) => void;
}): Promise<Rebuilder> {
  const changed = new Set<string>();
  const watching = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;

  async function buildChanged(): Promise<void> {
    while (changed.size > 0 && !watching.signal.aborted) {
      const names = [...changed].toSorted();
      changed.clear();
      const startedMs = performance.now();
      await deps.build(names).then(
        () => deps.say(`built ${names.join(", ")} in ${seconds(startedMs)} s`),
        (error: unknown) =>
          deps.say(`${names.join(", ")} not built: ${error instanceof Error ? error.message : ""}`),
      );
    }
    running = undefined;
  }

  function note(name: string): void {
    changed.add(name);
    clearTimeout(timer);
    timer = setTimeout(() => {
      running ??= buildChanged();
    }, quietMs);
  }

  for (const name of await readdir(deps.folder)) {
    const source = join(deps.folder, name, "src");
    if (!(await isFolder(source))) continue;
    const options = { recursive: true, signal: watching.signal };
    watch(source, options, (_event, file) => {
      if (file !== null && !isAside(file)) note(name);
    }).on("error", () => {});
  }
  return {
    async stop() {
      watching.abort();
      clearTimeout(timer);
      await running;
    },
  };
}

/** Tests are not built, and what is generated changes by the build itself. */
function isAside(file: string): boolean {
  return file.endsWith(".test.ts") || /(^|[\\/])generated([\\/]|$)/u.test(file);
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

function seconds(startedMs: number): string {
  return ((performance.now() - startedMs) / 1_000).toFixed(1);
}
