import { expect, test } from "vitest";

import { checkClaim } from "./check-claim.ts";
import { insertClaimChecks } from "./claims.ts";
import { fenceModules } from "./fence-modules.ts";
import { uncompiledFences } from "./fences.ts";
import { readModuleNames } from "./module-names.ts";

const around = {
  scenes: [{ names: readModuleNames("export declare const pool: Pool;"), specifier: "./scene.ts" }],
  exports: new Map([["createLedger", { package: "@evenkeel/ledger", isType: false }]]),
  claimSpecifier: "./check-claim.ts",
};

const page = (...fences: readonly string[]): string =>
  fences.map((code) => `Prose.\n\n\`\`\`ts\n${code}\n\`\`\`\n`).join("\n");

test("takes a name from the fence before, the scene, a fence after, or the package that exports it", () => {
  const [first, second] = fenceModules(
    page("const ledger = createLedger({ pool, handlers });", "const handlers = [ledger];"),
    around,
  );
  expect(first?.code.split("\n")[0]).toBe(
    'import { createLedger } from "@evenkeel/ledger"; import { pool } from "./scene.ts"; import { handlers } from "./fence-2.ts";',
  );
  expect(first?.code).toContain("export { ledger };");
  expect(second?.code.split("\n")[0]).toBe('import { ledger } from "./fence-1.ts";');
});

test("a fence that declares a name again keeps its own", () => {
  const modules = fenceModules(page("const a = 1;", "const a = 2; use(a);", "use(a);"), around);
  expect(modules.map(({ code }) => code.split("\n")[0])).toEqual([
    "",
    "",
    'import { a } from "./fence-2.ts";',
  ]);
});

test("imports again what a fence before imported", () => {
  const [, second] = fenceModules(page('import { z as y } from "zod";\ny;', "y.string();"), around);
  expect(second?.code.split("\n")[0]).toBe('import { z as y } from "zod";');
});

test("a fence may show several files, each under its path", () => {
  const modules = fenceModules(
    page("export const GET = 1;\n// app/route.ts\nexport const GET = 2;"),
    around,
  );
  expect(modules.map(({ fence }) => fence.line)).toEqual([4, 5]);
});

test("a file that imports another one of the page gets that one", () => {
  const [, second] = fenceModules(
    page("// a.ts\nexport const a = 1;", '// app/b.ts\nimport { a } from "@/a";\na;'),
    around,
  );
  expect(second?.code).toContain('import { a } from "./fence-1.ts";');
});

test("a claim checks the value of the line that it follows, in its place", () => {
  const code = ["const [a] = f();", "// → [1]", "g(a); // → { b: 2 }"].join("\n");
  expect(insertClaimChecks({ code, line: 10 }).split("\n")).toEqual([
    "const [a] = f();",
    "checkClaim(11, [a], ([1]));",
    "checkClaim(12, g(a), ({ b: 2 })); ",
  ]);
});

test.each([
  ["inside a function", "f();\nfunction g() {\n  const b = 2; // → 3\n}"],
  ["a second time after one statement", "f(); // → 1\n// → 2"],
  ["after no value", "import a from 'a'; // → 1"],
])("a claim %s would never be compared, and is refused", (_where, code) => {
  expect(() => insertClaimChecks({ code, line: 1 })).toThrow("the claim follows no expression");
});

test("a claim with an arrow of two characters, or without a space, is a claim", () => {
  const checked = insertClaimChecks({ code: "f(); // -> 1\ng(); //→ 2", line: 1 });
  expect(checked).toContain("checkClaim(1, f(), (1))");
  expect(checked).toContain("checkClaim(2, g(), (2))");
});

test.each(["```typescript", "```js", "  ```ts", "~~~ts", "``` ts", "````ts"])(
  "the fence %s, which nothing would compile, is found",
  (opening) => {
    const found = uncompiledFences(`Prose.\n\n${opening}\nconst a: string = 1;\n\`\`\`\n`);
    expect(found).toEqual([3]);
  },
);

test("fences of TypeScript, of other languages and of none are left alone", () => {
  const page = "```ts\na;\n```\n\n```tsx\nb;\n```\n\n```json\n{}\n```\n\n```\npnpm test\n```\n";
  expect(uncompiledFences(page)).toEqual([]);
});

test("a claim that does not hold says its line and both values", () => {
  expect(() => checkClaim(7, { a: 1, b: 2 }, { a: 2 })).toThrow('Line 7 claims {"a":2}');
  expect(() => checkClaim(7, { a: 1, b: 2 }, { b: 2 })).not.toThrow();
  expect(() => checkClaim(7, [1, 2], [1])).toThrow("Line 7 claims [1]; it gave [1,2]");
});
