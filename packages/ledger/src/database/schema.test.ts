import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, expect, test } from "vitest";

import { setup, type Setup } from "../testing/setup.ts";

const schemaFolder = join(import.meta.dirname, "..", "..", "..", "..", "prisma", "schema");

interface Column {
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
  readonly hasDefault: boolean;
}

/** The Postgres type of a Prisma scalar without a native type attribute. */
const scalarTypes: Readonly<Record<string, string>> = {
  String: "text",
  Int: "int4",
  BigInt: "int8",
  Boolean: "bool",
  Json: "jsonb",
  'Unsupported("tstzmultirange")': "tstzmultirange",
};

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

/** Reads the schema's files as one text. */
async function readSource(): Promise<string> {
  const names = await readdir(schemaFolder);
  const texts = names.map((name) => readFile(join(schemaFolder, name), "utf8"));
  return (await Promise.all(texts)).join("\n");
}

/** Reads the models and enums of the schema, as far as columns go. */
async function readSchema(): Promise<{
  tables: Map<string, Column[]>;
  enums: Map<string, string[]>;
}> {
  const source = (await readSource()).replaceAll(/\/\/.*$/gmu, "");
  const blocks = [...source.matchAll(/^(model|enum) (\w+) \{\n(.*?)^\}/gmsu)];
  const mappedName = (body: string, name: string): string =>
    /@@map\("(\w+)"\)/u.exec(body)?.[1] ?? name;
  const enumNames = new Map<string, string>();
  const modelNames = new Set<string>();
  for (const [, kind, name = "", body = ""] of blocks) {
    if (kind === "enum") enumNames.set(name, mappedName(body, name));
    else modelNames.add(name);
  }
  const tables = new Map<string, Column[]>();
  const enums = new Map<string, string[]>();
  for (const [, kind, name = "", body = ""] of blocks) {
    const lines = body.split("\n").map((line) => line.trim());
    const entries = lines.filter((line) => line !== "" && !line.startsWith("@@"));
    if (kind === "enum") {
      enums.set(mappedName(body, name), entries);
      continue;
    }
    const columns: Column[] = [];
    for (const entry of entries) {
      const [field = "", typeText = "", ...attributes] = entry.split(/\s+/u);
      const type = typeText.replace(/[?[\]]+$/u, "");
      if (modelNames.has(type)) continue;
      const rest = attributes.join(" ");
      const native = /@db\.(\w+)/u.exec(rest)?.[1]?.toLowerCase().replace("smallint", "int2");
      columns.push({
        name: /@map\("(\w+)"\)/u.exec(rest)?.[1] ?? field,
        type: native ?? enumNames.get(type) ?? scalarTypes[type] ?? `unknown ${type}`,
        nullable: typeText.endsWith("?"),
        hasDefault: rest.includes("@default("),
      });
    }
    tables.set(mappedName(body, name), columns);
  }
  return { tables, enums };
}

test("every model and field of the Prisma schema is a table and a column, and no other exists", async () => {
  const { rows } = await t.database.pool.query<Column & { table: string }>(
    `SELECT table_name AS "table", column_name AS name, udt_name AS type, is_nullable = 'YES' AS nullable,
       column_default IS NOT NULL OR is_identity = 'YES' AS "hasDefault"
     FROM information_schema.columns
     WHERE table_schema = 'evenkeel' AND table_name <> '_prisma_migrations'
     ORDER BY ordinal_position`,
  );
  const actual = Object.groupBy(rows, ({ table }) => table);
  const { tables } = await readSchema();
  expect(tables.size).toBeGreaterThan(5);
  expect(Object.keys(actual).toSorted()).toEqual([...tables.keys()].toSorted());
  for (const [table, columns] of tables) {
    const inDatabase = actual[table]?.map(({ table: _table, ...column }) => column) ?? [];
    const byName = (a: Column, b: Column): number => (a.name < b.name ? -1 : 1);
    expect({ table, columns: inDatabase.toSorted(byName) }).toEqual({
      table,
      columns: columns.toSorted(byName),
    });
  }
});

test("every enum of the Prisma schema has the same values in the database", async () => {
  const { rows } = await t.database.pool.query<{ name: string; values: string[] }>(
    `SELECT type.typname AS name, array_agg(label.enumlabel::text ORDER BY label.enumsortorder) AS values
     FROM pg_type AS type
     JOIN pg_enum AS label ON label.enumtypid = type.oid
     WHERE type.typnamespace = 'evenkeel'::regnamespace
     GROUP BY type.typname`,
  );
  const { enums } = await readSchema();
  expect(Object.fromEntries(rows.map(({ name, values }) => [name, values]))).toEqual(
    Object.fromEntries(enums),
  );
});

test("every index that the schema names exists, and every other is a primary key", async () => {
  const source = await readSource();
  const named = [...source.matchAll(/@@(?:index|unique)\(.*?map: "(\w+)"/gu)].map(
    ([, name]) => name,
  );
  const { rows } = await t.database.pool.query<{ name: string }>(
    `SELECT class.relname AS name
     FROM pg_index AS index
     JOIN pg_class AS class ON class.oid = index.indexrelid
     WHERE class.relnamespace = 'evenkeel'::regnamespace AND NOT index.indisprimary
     ORDER BY 1`,
  );
  expect(rows.map(({ name }) => name)).toEqual(
    named.toSorted((a = "", b = "") => a.localeCompare(b)),
  );
});

test("what a unique index holds is compared by its bytes, but for the keys of jobs", async () => {
  const { rows } = await t.database.pool.query<{ column: string }>(
    `SELECT class.relname || '.' || attribute.attname AS column
     FROM pg_index AS index
     JOIN pg_class AS class ON class.oid = index.indrelid
     JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attnum = ANY (index.indkey)
     WHERE class.relnamespace = 'evenkeel'::regnamespace AND index.indisunique AND class.relname <> '_prisma_migrations'
       AND attribute.atttypid = 'text'::regtype AND attribute.attcollation <> 'pg_catalog."C"'::regcollation
     ORDER BY 1`,
  );
  const columns = rows.map(({ column }) => column);
  expect(columns.filter((column) => !/^background_(?:job|effect)/u.test(column))).toEqual([
    // One row, of a name that the code has.
    "background_outbox_relay.name",
  ]);
});
