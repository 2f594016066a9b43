import { expect, test } from "vitest";

import { checkFileLengths } from "./file-lengths.ts";
import { checkFileNames } from "./file-names.ts";
import { checkFolders } from "./folders.ts";
import { checkMarkdownLinks } from "./markdown-links.ts";

const numbered = (count: number, name: (n: number) => string): string[] =>
  Array.from({ length: count }, (_, n) => `packages/a/src/b/${name(n)}.ts`);

test("refuses names of buckets, for files, tests and folders", () => {
  const files = [
    "packages/a/src/utils.ts",
    "packages/a/src/job-types.test.ts",
    "apps/w/lib/page.ts",
  ];
  expect(checkFileNames(files).map(({ file }) => file)).toEqual([files[0], files[1], "apps/w/lib"]);
  expect(checkFileNames(["packages/a/src/type-check.ts", "packages/a/lib.md"])).toEqual([]);
});

test.each(["job-utils/a.ts", "_shared/a.ts", "jobUtils.ts", "job_helpers.ts", "Utils.ts"])(
  "refuses the bucket %s, however its words are joined",
  (file) => {
    expect(checkFileNames([`packages/a/src/${file}`])).toHaveLength(1);
  },
);

test("refuses a folder with more than 20 files beside its tests", () => {
  const tests = numbered(30, (n) => `n${n}.test`);
  expect(checkFolders([...numbered(20, (n) => `n${n}`), ...tests])).toEqual([]);
  expect(checkFolders(numbered(21, (n) => `n${n}`))).toMatchObject([{ file: "packages/a/src/b" }]);
});

test("refuses a fourth file with one prefix of two words", () => {
  expect(checkFolders(numbered(3, (n) => `job-store-n${n}`))).toEqual([]);
  expect(checkFolders(numbered(4, (n) => `job-store-n${n}`))).toMatchObject([
    {
      file: "packages/a/src/b",
      fix: "Make the folder packages/a/src/b/job-store/ and drop the prefix.",
    },
  ]);
});

test("refuses a file of 401 lines", async () => {
  const check = async (lines: number, files = ["a.ts"]): Promise<number> => {
    const read = async (): Promise<string> => "x\n".repeat(lines);
    return (await checkFileLengths({ root: "/", files, read })).length;
  };
  expect([await check(400), await check(401)]).toEqual([0, 1]);
  expect(await check(401, ["a.mts", "a.cts", "a.cjs", "a.jsx", "a.sh"])).toBe(5);
});

test("refuses a link of Markdown to a file that is not there", async () => {
  const text =
    "[a](src/a.ts) [folder](src)\n[gone](src/b.ts#x) [web](https://a.example) [here](#here)";
  const files = ["packages/p/README.md", "packages/p/src/a.ts"];
  const found = await checkMarkdownLinks({ root: "/", files, read: async () => text });
  expect(found).toMatchObject([{ file: "packages/p/README.md", line: 2 }]);
});
