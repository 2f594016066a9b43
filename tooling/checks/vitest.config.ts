import { join } from "node:path";

import { defineConfig } from "vitest/config";

import { SlowestFirst } from "./src/slowest-first.ts";
import { SlowestReporter } from "./src/slowest-reporter.ts";

const root = join(import.meta.dirname, "..", "..");
const conditions = ["@evenkeel/source", "node", "development|production"];

export default defineConfig({
  root,
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  // The environment that loads the global set-up.
  environments: { __vitest__: { resolve: { conditions } } },
  test: {
    include: [
      "apps/*/src/**/*.test.ts",
      "packages/*/src/**/*.test.ts",
      "tooling/*/src/**/*.test.ts",
    ],
    globalSetup: [join(import.meta.dirname, "src", "test-cluster.ts")],
    pool: "forks",
    maxWorkers: 2,
    sequence: { sequencer: SlowestFirst },
    reporters: ["default", new SlowestReporter()],
    // The packages log to the console by default: a test's lines are shown when it fails.
    silent: "passed-only",
    // A hung test must end some day; no test depends on how fast it is.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
