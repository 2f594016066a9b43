import type { Edit } from "./scratch-copy.ts";

/** A mistake, the gate that has to refuse it, and what the refusal has to say. */
export interface Trial {
  readonly mistake: string;
  readonly files: Readonly<Record<string, string | Edit>>;
  /** A program of `node_modules/.bin` with its arguments. */
  readonly gate: readonly [program: string, ...args: string[]];
  /** The refusal names the file and the fix. */
  readonly says: readonly RegExp[];
}

const verify = (check: string): Trial["gate"] => ["node", "tooling/checks/src/verify.ts", check];
const vitest = (test: string): Trial["gate"] => [
  "vitest",
  "run",
  "--config",
  "tooling/checks/vitest.config.ts",
  test,
];
const lines = (count: number, line: string): string => `${line}\n`.repeat(count);
const retired = ["lin", "gerMs"].join("");
const token = ["ghp", "abcdefghijklmnopqrstuvwxyz0123456789"].join("_");
const database = "packages/ledger/src/database";

/** Every gate's mistake, one at a time. */
export const trials: readonly Trial[] = [
  {
    mistake: "a circle of type-only imports",
    files: {
      [`${database}/east.ts`]: `import type { West } from "./west.ts";\n\nexport type East = West | 1;\n`,
      [`${database}/west.ts`]: `import type { East } from "./east.ts";\n\nexport type West = East[];\n`,
    },
    gate: verify("boundaries"),
    says: [/no-circular: .*database\/(?:east|west)\.ts/u, /Move the types that both use/u],
  },
  {
    mistake: "an import against the order of folders",
    files: {
      [`${database}/upward.ts`]: `export type { WindowStatus } from "../windows/window.ts";\n`,
    },
    gate: verify("boundaries"),
    says: [/ledger-folder-order: .*upward\.ts → .*window\.ts/u, /Move what both need/u],
  },
  {
    mistake: "an import of a store",
    files: {
      "packages/ledger/src/windows/shortcut.ts": `export type { JobStore } from "../jobs/job-store.ts";\n`,
    },
    gate: verify("boundaries"),
    says: [/ledger-store-assembles: .*shortcut\.ts/u, /Import the file that owns/u],
  },
  {
    mistake: "a file named like a bucket",
    files: { "packages/jobs/src/runner/utils.ts": "export const nothing = 0;\n" },
    gate: verify("layout"),
    says: [/packages\/jobs\/src\/runner\/utils\.ts: .* Name it after the noun/u],
  },
  {
    mistake: "a folder of 21 files",
    files: Object.fromEntries(
      Array.from({ length: 21 }, (_, n) => [`packages/core/src/crowd/n${n}.ts`, `export {};\n`]),
    ),
    gate: verify("layout"),
    says: [/packages\/core\/src\/crowd: .*21 files.* Give one of its nouns a folder/u],
  },
  {
    mistake: "a fourth file with one prefix",
    files: Object.fromEntries(
      ["a", "b", "c", "d"].map((name) => [
        `packages/core/src/sea/salt-water-${name}.ts`,
        "export {};\n",
      ]),
    ),
    gate: verify("layout"),
    says: [/packages\/core\/src\/sea: .*"salt-water".* Make the folder/u],
  },
  {
    mistake: "a file of 401 lines",
    files: { "packages/core/src/scroll.ts": lines(401, "// One more.") },
    gate: verify("layout"),
    says: [/packages\/core\/src\/scroll\.ts: It has 401 lines.* Move one of its nouns/u],
  },
  {
    mistake: "a function of 121 lines",
    files: {
      "packages/core/src/ballad.ts": `export function sing(): void {\n${lines(119, "  // La.")}}\n`,
    },
    gate: ["oxlint", "--deny-warnings", "packages/core/src/ballad.ts"],
    says: [/`sing` has too many lines \(121\)\. Maximum allowed is 120/u, /ballad\.ts/u],
  },
  {
    mistake: "a retired name",
    files: { "packages/core/src/clock.ts": (text) => `${text}\nexport const ${retired} = 1;\n` },
    gate: verify("names"),
    says: [new RegExp(`clock\\.ts:\\d+: "${retired}" is a retired name\\. Use idle timeout`, "u")],
  },
  {
    mistake: "a README whose code does not compile",
    files: {
      "packages/core/README.md": (text) => `${text}\n\`\`\`ts\nconst five: string = 5;\n\`\`\`\n`,
    },
    gate: verify("readme-code"),
    says: [/packages\/core\/README\.md:\d+: Type 'number' is not assignable.* Mend the fence/u],
  },
  {
    mistake: "a README that claims what its code does not give",
    files: {
      "packages/jobs/README.md": (text) => text.replace("succeeded: 2,", "succeeded: 7,"),
    },
    gate: vitest("readme-code.test"),
    says: [/Line \d+ claims \{"succeeded":7/u],
  },
  {
    mistake: "a transition table of windows without one of its states' changes",
    files: {
      "packages/ledger/src/windows/window.ts": (text) =>
        text.replace(/(windowTransitions[\s\S]*?\bENQUEUE_FAILED: \[)[^\]]+/u, "$1"),
    },
    gate: vitest("packages/ledger/src/windows/window"),
    says: [/FAIL .*windows\/window(?:-transitions)?\.test\.ts/u, /ENQUEUE_FAILED/u],
  },
  {
    mistake: "a transition table of jobs without one of its states' changes",
    files: {
      "packages/ledger/src/jobs/job.ts": (text) =>
        text.replace(/(jobTransitions[\s\S]*?\bRUNNING: \[)[^\]]+/u, "$1"),
    },
    gate: vitest("packages/ledger/src/jobs/job-transitions.test"),
    says: [/FAIL .*jobs\/job-transitions\.test\.ts/u, /RUNNING/u],
  },
  {
    mistake: "a secret",
    files: { "packages/core/src/token.ts": `export const token = "${token}";\n` },
    gate: verify("secrets"),
    says: [/packages\/core\/src\/token\.ts:1: .*GitHub Token.* revoke it/u],
  },
];
