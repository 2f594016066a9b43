import { hasClaims, insertClaimChecks } from "./claims.ts";
import { typescriptFences, type Fence } from "./fences.ts";
import { readModuleNames, type ModuleNames } from "./module-names.ts";

/** Where the names come from that a README uses and does not declare. */
export interface Surroundings {
  /** What the reader's product gives, the nearest first, and how a generated module imports it. */
  readonly scenes: readonly Scene[];
  /** The names that the packages export, with their package. */
  readonly exports: ReadonlyMap<string, { readonly package: string; readonly isType: boolean }>;
  /** How a generated module imports `checkClaim`. */
  readonly claimSpecifier: string;
}

/** A module beside the README that declares what its code takes for granted. */
export interface Scene {
  readonly names: ModuleNames;
  readonly specifier: string;
}

/** A module generated from a README: its code starts on the second line. */
export interface FenceModule {
  readonly fence: Fence;
  readonly name: string;
  readonly code: string;
}

/**
 * Makes a module of each fence. A name that the fence does not declare is that of the nearest fence before it,
 * else of the scene, else of a fence after it, else of the package that exports it: so a README reads as one
 * program, and a fence may declare a name again.
 */
export function fenceModules(page: string, around: Surroundings): FenceModule[] {
  const shown = typescriptFences(page);
  const fences = shown.map((original, index) => {
    const fence = { ...original, code: resolveAliases(original.code, shown) };
    return { fence, name: moduleName(index), names: readModuleNames(fence.code) };
  });
  return fences.map(({ fence, name, names }, index) => {
    const sources = [
      ...fences.slice(0, index).toReversed().map(fenceSource),
      ...around.scenes.map(sceneSource),
      ...fences.slice(index + 1).map(fenceSource),
    ];
    const imports = [...names.used]
      .filter((used) => !names.declared.has(used))
      .map((used) => importOf(used, sources, around.exports));
    if (hasClaims(fence)) imports.push(`import { checkClaim } from "${around.claimSpecifier}";`);
    const code = [
      imports.filter((line) => line !== "").join(" "),
      insertClaimChecks(fence),
      exportsOf(names),
    ].join("\n");
    return { fence, name, code };
  });
}

function moduleName(index: number): string {
  return `fence-${index + 1}`;
}

/** An import of `@/background` in a page that shows `// background.ts` is of that fence. */
function resolveAliases(code: string, shown: readonly Fence[]): string {
  return code.replaceAll(/(?<=from ")@\/([^"]+)(?=")/gu, (specifier, path: string) => {
    const index = shown.findIndex(({ code: file }) => file.startsWith(`// ${path}.ts`));
    return index === -1 ? specifier : `./${moduleName(index)}.ts`;
  });
}

/** Returns the import of a name, or nothing for one that it does not know. */
type Source = (name: string) => string | undefined;

function fenceSource({ name: module, names }: { name: string; names: ModuleNames }): Source {
  return (name) => {
    const found = names.declared.get(name);
    if (found?.importedFrom === undefined) {
      return found && importLine(found.isType, name, `./${module}.ts`);
    }
    const { module: from, name: original } = found.importedFrom;
    if (original === "*") return `import * as ${name} from "${from}";`;
    return importLine(found.isType, original === name ? name : `${original} as ${name}`, from);
  };
}

function sceneSource({ names, specifier }: Scene): Source {
  return (name) => {
    const found = names.exported.get(name);
    return found && importLine(found.isType, name, specifier);
  };
}

function importOf(
  name: string,
  sources: readonly Source[],
  exports: Surroundings["exports"],
): string {
  for (const source of sources) {
    const line = source(name);
    if (line !== undefined) return line;
  }
  const exported = exports.get(name);
  return exported === undefined ? "" : importLine(exported.isType, name, exported.package);
}

function importLine(isType: boolean, name: string, specifier: string): string {
  return `import ${isType ? "type " : ""}{ ${name} } from "${specifier}";`;
}

/** Exports what the fence declares and keeps to itself, for the fences after it. */
function exportsOf({ declared, exported }: ModuleNames): string {
  const own = [...declared].filter(([, { importedFrom }]) => importedFrom === undefined);
  const hidden = own.filter(([name]) => !exported.has(name));
  const names = hidden.map(([name, { isType }]) => (isType ? `type ${name}` : name));
  return `export { ${names.join(", ")} };\n`;
}
