import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { WayIn } from "./quick-start.ts";
import { openShell } from "./reader-shell.ts";

const printed = /`(pnpm add [^`]+)`/gu;

/**
 * Runs the lines that README and guide print for pnpm, which refuses build scripts that nobody allowed: with the
 * repository's own pnpm, in a folder of nothing. Throws where one ends badly.
 */
export async function followPnpmLines({ root, folder, env, registryUrl }: WayIn): Promise<void> {
  const pages = await Promise.all(
    ["README.md", join("docs", "adopt.md")].map((page) => readFile(join(root, page), "utf8")),
  );
  const lines = pages.flatMap((page) => [...page.matchAll(printed)].map(([, line = ""]) => line));
  if (lines.length < pages.length) throw new Error("A page prints no line for pnpm.");
  await writeFile(join(folder, "package.json"), '{ "name": "shop", "private": true }');
  await writeFile(join(folder, ".npmrc"), `@evenkeel:registry=${registryUrl}\n`);
  const path = `${join(root, "node_modules", ".bin")}:${env["PATH"] ?? ""}`;
  const shell = openShell(folder, { ...env, PATH: path });
  try {
    for (const line of new Set(lines)) await shell.run(line);
  } finally {
    await shell.close();
  }
}
