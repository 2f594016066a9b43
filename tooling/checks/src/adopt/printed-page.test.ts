import { join } from "node:path";

import { expect, test } from "vitest";

import { openRepository } from "../repository.ts";
import { countLines, findSection, readSections } from "./printed-page.ts";

const page = [
  "# Title",
  "## One",
  "```sh\nnpm install a # why\n# a comment\n\nnpm test &\n```",
  "```ts\n// app/[...all]/route.ts\nconst a = 1;\n\nconst b = 2;\n// lib/b.ts\nconst c = 3;\n```",
  "```json vercel.json\n{}\n```",
  "```ts\nconst shown = 1; // and no file\n```",
  "## Two words",
  "```sql\n-- prisma/migrations/1_shop/migration.sql\nSELECT 1;\n```",
  "",
].join("\n\n");

test("a page's files and commands are read as they are printed", () => {
  const sections = readSections(page);
  const one = findSection(sections, "One");
  expect(one.commands).toEqual(["npm install a # why", "npm test &"]);
  expect(one.files).toEqual([
    { path: "app/[...all]/route.ts", code: "const a = 1;\n\nconst b = 2;" },
    { path: "lib/b.ts", code: "const c = 3;\n" },
    { path: "vercel.json", code: "{}\n" },
  ]);
  expect(one.files.map(countLines)).toEqual([2, 1, 1]);
  expect(findSection(sections, "Two").files).toMatchObject([
    { path: "prisma/migrations/1_shop/migration.sql" },
  ]);
  expect(() => findSection(sections, "Three")).toThrow('no section "Three"');
});

test("the README's way in is at most three files and 25 lines", async () => {
  const { read } = await openRepository(join(import.meta.dirname, "..", "..", "..", ".."));
  const { files, commands } = findSection(readSections(await read("README.md")), "Adopt it");
  expect(files.map(({ path }) => path)).toHaveLength(3);
  const lines = files.reduce((sum, file) => sum + countLines(file), 0);
  expect(lines).toBeGreaterThan(10);
  expect(lines).toBeLessThanOrEqual(25);
  expect(commands.some((line) => line.startsWith("npx @evenkeel/engine dev"))).toBe(true);
});
