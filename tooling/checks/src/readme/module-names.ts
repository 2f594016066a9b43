import { parseSync, Visitor, type Program } from "oxc-parser";

/** What a name at the top of a module stands for. */
export interface ModuleName {
  /** Whether only its type can be imported. */
  readonly isType: boolean;
  /** Absent: the module declares it itself. */
  readonly importedFrom?: { readonly module: string; readonly name: string };
}

/** The names at the top of a module, and those that it uses. */
export interface ModuleNames {
  readonly declared: ReadonlyMap<string, ModuleName>;
  /** The names of others that it exports, by the name of the export. */
  readonly exported: ReadonlyMap<string, { readonly isType: boolean }>;
  readonly used: ReadonlySet<string>;
}

/** Reads a module's names. Its syntax errors are the compiler's to report. */
export function readModuleNames(code: string): ModuleNames {
  const { module, program } = parseSync("module.ts", code);
  const declared = new Map<string, ModuleName>();
  for (const { entries, moduleRequest } of module.staticImports) {
    for (const { isType, localName, importName } of entries) {
      const kinds = { Default: "default", NamespaceObject: "*", Name: importName.name ?? "" };
      const importedFrom = { module: moduleRequest.value, name: kinds[importName.kind] };
      declared.set(localName.value, { isType, importedFrom });
    }
  }
  for (const [name, isType] of declarationsOf(program)) declared.set(name, { isType });
  const exported = new Map<string, { isType: boolean }>();
  for (const { entries } of module.staticExports) {
    for (const { exportName, localName, isType } of entries) {
      const own = declared.get(localName.name ?? "");
      if (exportName.name !== null) {
        exported.set(exportName.name, { isType: own?.isType ?? isType });
      }
    }
  }
  return { declared, exported, used: identifiersOf(program) };
}

type Node = Program["body"][number];
type Pattern = Extract<Node, { type: "VariableDeclaration" }>["declarations"][number]["id"];

function declarationsOf({ body }: Program): [name: string, isType: boolean][] {
  return body.flatMap((statement): [string, boolean][] => {
    const node = statement.type === "ExportNamedDeclaration" ? statement.declaration : statement;
    if (node?.type === "VariableDeclaration") {
      return node.declarations.flatMap(({ id }) =>
        namesOfPattern(id).map((name): [string, boolean] => [name, false]),
      );
    }
    if (node === null || !("id" in node) || node.id?.type !== "Identifier") return [];
    const isType = node.type === "TSInterfaceDeclaration" || node.type === "TSTypeAliasDeclaration";
    return [[node.id.name, isType]];
  });
}

/** Returns the names that a pattern binds: `first` and `again` of `[first, again]`. */
export function namesOfPattern(pattern: Pattern): string[] {
  switch (pattern.type) {
    case "Identifier":
      return [pattern.name];
    case "AssignmentPattern":
      return namesOfPattern(pattern.left);
    case "ArrayPattern":
      return pattern.elements.flatMap((element) =>
        element === null
          ? []
          : namesOfPattern(element.type === "RestElement" ? element.argument : element),
      );
    case "ObjectPattern":
      return pattern.properties.flatMap((property) =>
        namesOfPattern(property.type === "RestElement" ? property.argument : property.value),
      );
  }
}

function identifiersOf(program: Program): Set<string> {
  const names = new Set<string>();
  new Visitor({ Identifier: ({ name }) => void names.add(name) }).visit(program);
  return names;
}
