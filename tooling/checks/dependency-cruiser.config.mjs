import { folderOrderRules } from "./folder-order.mjs";

/** What each part may import from this repository. The arrows of the design, and nothing else. */
const allowed = {
  "packages/core": [],
  "packages/events": ["packages/core"],
  "packages/ledger": ["packages/core"],
  "packages/jobs": ["packages/core", "packages/ledger"],
  "packages/dispatch": ["packages/core", "packages/events", "packages/ledger", "packages/jobs"],
  "packages/functions": [
    "packages/core",
    "packages/events",
    "packages/ledger",
    "packages/jobs",
    "packages/dispatch",
  ],
  "packages/engine": [],
  "packages/test-postgres": ["packages/core"],
  "packages/testing": ["packages/(core|ledger|jobs|dispatch|functions|engine)"],
  "packages/inbox": ["packages/core", "packages/ledger", "packages/jobs"],
  "apps/web": ["packages/(core|events|ledger|jobs|dispatch|functions|inbox)"],
  "apps/worker": ["packages/(core|events|ledger|jobs|dispatch|functions|inbox)"],
};

/** Tests, and what only they use, may also use the engine and the embedded Postgres. */
const tests = "[.]test[.]ts$|/src/testing/|/conformance/";

/** @type {import("dependency-cruiser").IConfiguration} */
export default {
  forbidden: [
    {
      name: "no-circular",
      severity: "error",
      comment:
        "Type-only imports count. Move the types that both use into a file of their own, below both.",
      from: {},
      to: { circular: true },
    },
    {
      name: "no-unresolved",
      severity: "error",
      from: {},
      to: { couldNotResolve: true, pathNot: "/generated/|^next/|[.]css$" },
    },
    ...Object.entries(allowed).map(([part, targets]) => ({
      name: `${part.replace("/", "-")}-boundary`,
      severity: "error",
      comment: `${part} may import only ${targets.join(", ") || "nothing"} of this repository.`,
      from: { path: `^${part}/`, pathNot: tests },
      to: {
        path: "^(packages|apps|tooling)/",
        pathNot: [part, ...targets].map((target) => `^${target}/`),
      },
    })),
    ...folderOrderRules(),
    {
      name: "packages-know-no-host",
      severity: "error",
      comment:
        "Tests of a package may use other packages and packages/test-postgres, never an app or a tool.",
      from: { path: "^packages/" },
      to: { path: "^(apps|tooling)/" },
    },
    {
      name: "only-the-ledger-imports-prisma",
      severity: "error",
      from: { pathNot: `^packages/ledger/|^prisma/|^tooling/|${tests}` },
      to: { path: "node_modules/(@prisma|prisma)/" },
    },
    {
      name: "only-functions-and-apps-import-inngest",
      severity: "error",
      comment: "The event bindings are a second entry point, so that `events` alone needs no SDK.",
      from: {
        path: "^packages/",
        pathNot: `^packages/(functions|testing)/|^packages/events/src/inngest[.]ts$|${tests}`,
      },
      to: { path: "node_modules/inngest/" },
    },
    {
      name: "no-test-code-in-products",
      severity: "error",
      from: { path: "^(packages|apps)/[^/]+/src/", pathNot: tests },
      to: { path: "[.]test[.]ts$|/src/testing/" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "/(dist|[.]next|[.]cache|generated)/" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["@evenkeel/source", "types", "import", "node", "default"],
      extensions: [".ts", ".tsx", ".js", ".mjs", ".json"],
    },
  },
};
