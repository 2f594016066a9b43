import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test, vi } from "vitest";

import { startRebuilder } from "./rebuild.ts";

test("a package is built when its source changes, not for its tests, and a failure is said", async () => {
  const folder = await mkdtemp(join(tmpdir(), "dev-rebuild-"));
  await mkdir(join(folder, "one", "src", "deep"), { recursive: true });
  await mkdir(join(folder, "other", "src"), { recursive: true });
  await mkdir(join(folder, "no-package"));
  const built: string[] = [];
  const said: string[] = [];
  const rebuilder = await startRebuilder({
    folder,
    build: async (names) => {
      built.push(...names);
      if (names.includes("other")) throw new Error("it does not compile");
    },
    say: (text) => said.push(text),
  });
  // Written again until it is seen: a watch takes a moment to begin.
  const until = async (path: string, isSeen: () => boolean) => {
    await vi.waitUntil(
      async () => {
        await writeFile(join(folder, path), String(Math.random()));
        return isSeen();
      },
      { timeout: 60_000, interval: 500 },
    );
  };
  await writeFile(join(folder, "other", "src", "a.test.ts"), "");
  await until("one/src/deep/a.ts", () => built.includes("one"));
  expect(built).not.toContain("other");
  expect(said.some((text) => /^built one in \d/u.test(text))).toBe(true);
  await until("other/src/a.ts", () => said.includes("other not built: it does not compile"));
  await rebuilder.stop();
  await rm(folder, { recursive: true });
});
