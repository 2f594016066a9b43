import { join } from "node:path";

import { expect, test } from "vitest";

import { describeFinding } from "../repository.ts";
import { findRetired, readRetiredNames } from "./retired-names.ts";

// In parts: this file is checked as well.
const old = ["lin", "ger"].join("");
const twoWords = ["put", "back"];
const snake = twoWords.join("_");
const retired = [{ names: ["Place"], words: [old, twoWords.join(" ")], use: "idle timeout" }];
const find = (file: string, text: string): string[] =>
  findRetired(retired, file, text).map(describeFinding);

test("finds identifiers, properties, log events and SQL names, by their words", () => {
  const text = [
    `// ${old} in a comment`,
    `const ${old}Ms = options.${snake};`,
    `logger.info("job.${old}");`,
    `throw new Error("We ${old} here.");`,
    "query(`",
    `  SELECT ${old} -- ${old}`,
    "  FROM t`);",
    "type T = Place | PlaceName;",
  ].join("\n");
  expect(find("a.ts", text).map((line) => line.split(": ").slice(0, 2).join(": "))).toEqual([
    `a.ts:2: "${old}Ms" is a retired name. Use idle timeout.`,
    `a.ts:2: "${snake}" is a retired name. Use idle timeout.`,
    `a.ts:3: "job.${old}" is a retired name. Use idle timeout.`,
    `a.ts:6: "${old}" is a retired name. Use idle timeout.`,
    `a.ts:8: "Place" is a retired name. Use idle timeout.`,
  ]);
});

test("finds names in SQL, in Prisma's schema, in code of a page and in a file's own name", () => {
  expect(find("a.sql", `-- ${old}\nALTER TABLE ${old}_at;`)).toHaveLength(1);
  expect(find("a.prisma", `// ${old}\nmodel A {\n  ${old} Int\n}`)).toHaveLength(1);
  expect(find("a.md", `We ${old}.\n\n\`${old}Ms\`\n\n\`\`\`ts\n${snake}();\n\`\`\`\n`)).toEqual([
    `a.md:6: "${snake}" is a retired name. Use idle timeout.`,
    `a.md:3: "${old}Ms" is a retired name. Use idle timeout.`,
  ]);
  expect(find(`src/${old}-timer.ts`, "")).toEqual([
    `src/${old}-timer.ts: "${old}-timer" is a retired name. Use idle timeout.`,
  ]);
});

test("finds the names of a statement on one line; prose that begins like one keeps its words", () => {
  expect(find("a.ts", `query("SELECT ${old} FROM t");`)).toHaveLength(1);
  expect(find("a.ts", `query(\`DELETE FROM t WHERE ${old}\`);`)).toHaveLength(1);
  expect(find("a.ts", `throw new Error("Select what may ${old} here.");`)).toEqual([]);
});

test("the committed list can be read", () => {
  const root = join(import.meta.dirname, "..", "..", "..", "..");
  expect(readRetiredNames(root).length).toBeGreaterThan(20);
});
