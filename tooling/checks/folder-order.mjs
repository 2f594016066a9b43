/**
 * The order of folders inside each package, the lowest row first. A folder may import the rows before its own,
 * never a folder beside it or above. Type-only imports count. A folder here means its own files: `jobs` does not
 * include `jobs/claim`, nor a file that has a row of its own. `*.ts` are the files at the root of the package.
 */
const folderOrder = {
  "packages/ledger": [
    ["database"],
    ["audit", "runs", "outbox", "schedules", "retention", "hosts"],
    ["handshake"],
    ["windows"],
    ["dead-letters"],
    ["jobs"],
    ["jobs/records"],
    ["jobs/job-records.ts"],
    ["jobs/tenant-job.ts"],
    // Both stand on jobs/job.ts. What looks ahead of a claim, and what assembles, stands on it.
    ["jobs/claim", "jobs/changes"],
    ["jobs/backlog.ts"],
    ["jobs/job-store.ts"],
    ["*.ts"],
  ],
  "packages/jobs": [["job-error.ts"], ["definition"], ["runner/slots"], ["runner"], ["*.ts"]],
  "packages/dispatch": [
    ["dispatch-error.ts", "variables.ts"],
    ["background-config.ts"],
    ["schedule", "handshake"],
    ["fan-out"],
    ["dispatcher"],
    ["http", "maintenance"],
    ["*.ts"],
  ],
  "packages/engine": [
    ["json.ts", "logger.ts", "identity.ts", "engine-error.ts", "production-guard.ts"],
    ["journal.ts"],
    ["time", "expression", "transport"],
    ["fault"],
    ["event"],
    ["app"],
    ["run"],
    ["queue"],
    ["call"],
    ["step"],
    ["schedule"],
    ["executor.ts"],
    ["checkpoint.ts", "engine-view.ts", "engine-core.ts"],
    ["api"],
    ["*.ts"],
    ["cli"],
  ],
};

/** Where `<noun>-store.ts` puts its folder together. A store of the engine is what holds the records. */
const withStores = new Set(["packages/ledger"]);

const tests = "[.]test[.]ts$|/src/testing/|/conformance/";
const order = "The order stands in tooling/checks/folder-order.mjs.";

/** The rules of dependency-cruiser that hold every package to its order. */
export function folderOrderRules() {
  return Object.entries(folderOrder).flatMap(([part, rows]) => {
    const entries = rows.flat();
    const rules = rows.flatMap((row, rank) =>
      row.map((entry) => rule(part, entries, entry, rows.slice(0, rank).flat())),
    );
    const stores = withStores.has(part) ? [storesAreAssemblies(part)] : [];
    return [...rules, unlisted(part, entries), ...stores];
  });
}

/** Which files an entry of the order means. */
function filesOf(part, entry, entries) {
  if (isFile(entry)) return `^${part}/src/${entry}$`;
  const folder = entry === "*.ts" ? "" : `${entry}/`;
  const named = entries
    .filter((other) => isFile(other) && other.startsWith(folder))
    .map((other) => other.slice(folder.length));
  return `^${part}/src/${folder}(?!(${named.join("|") || " "})$)[^/]+[.]tsx?$`;
}

function isFile(entry) {
  return entry.endsWith(".ts") && entry !== "*.ts";
}

/** Holds the files of one entry to what is below it. */
function rule(part, entries, entry, below) {
  const forbidden = entries.filter((other) => other !== entry && !below.includes(other));
  return {
    name: `${part.replace("packages/", "")}-folder-order`,
    severity: "error",
    comment:
      `${part}/src/${entry} may import ${["itself", ...below].join(", ")}. ` +
      `Move what both need into a folder below, or pass it in. ${order}`,
    from: { path: filesOf(part, entry, entries), pathNot: [tests] },
    // With nothing forbidden, nothing matches.
    to: { path: forbidden.map((other) => filesOf(part, other, entries)).concat("^$") },
  };
}

/** A new folder gets its place in the order with its first import. */
function unlisted(part, entries) {
  const listed = entries.map((entry) => filesOf(part, entry, entries));
  return {
    name: `${part.replace("packages/", "")}-folder-order`,
    severity: "error",
    comment: `This folder of ${part} has no place in the order yet: give it one. ${order}`,
    from: { path: `^${part}/src/.+/`, pathNot: [tests, "/generated/", ...listed] },
    to: {},
  };
}

/** Nothing stands on a file that assembles its neighbours, save the package's own assembly. */
function storesAreAssemblies(part) {
  return {
    name: `${part.replace("packages/", "")}-store-assembles`,
    severity: "error",
    comment:
      "A store puts its folder's files together. Import the file that owns what you need: " +
      "types and rows stand in <noun>.ts, each operation in a file of its own.",
    from: { path: `^${part}/src/`, pathNot: [tests, `^${part}/src/(ledger|index)[.]ts$`] },
    to: { path: `^${part}/src/.+-store[.]ts$` },
  };
}
