import { expect, test } from "vitest";

import { checkClaim } from "./check-claim.ts";
import { insertClaimChecks } from "./claims.ts";
import { fenceModules } from "./fence-modules.ts";
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

test("a claim checks the value of the line that it follows, in its place", () => {
  const code = ["const [a] = f();", "// → [1]", "g(a); // → { b: 2 }"].join("\n");
  expect(insertClaimChecks({ code, line: 10 }).split("\n")).toEqual([
    "const [a] = f();",
    "checkClaim(11, [a], ([1]));",
    "checkClaim(12, g(a), ({ b: 2 })); ",
  ]);
});

test("a claim that does not hold says its line and both values", () => {
  expect(() => checkClaim(7, { a: 1, b: 2 }, { a: 2 })).toThrow('Line 7 claims {"a":2}');
  expect(() => checkClaim(7, { a: 1, b: 2 }, { b: 2 })).not.toThrow();
});
