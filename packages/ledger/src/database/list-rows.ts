import type { SqlValue } from "./database.ts";
import type { Scope } from "./tenant-scope.ts";

/** A statement and its values. */
export interface Query {
  readonly text: string;
  readonly values: readonly SqlValue[];
}

/**
 * Returns the rows of a list in a scope. Over every tenant its statement returns them. In a tenant's scope it finds their
 * keys, and another statement reads them, for the reason at {@link Scope.findKeys}.
 *
 * @param list The statement: of rows, or of keys where the scope has a tenant.
 * @param readKeys The statement that reads the rows of keys, in the order of the list.
 */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- a key's columns are those of the statement
export async function listRows<Row extends object, Key extends object>(
  scope: Scope,
  list: Query,
  readKeys: (keys: readonly Key[]) => Query,
): Promise<Row[]> {
  if (scope.tenantId === undefined) return scope.query<Row>(list.text, list.values);
  const keys = await scope.findKeys<Key>(list.text, list.values);
  if (keys.length === 0) return [];
  const { text, values } = readKeys(keys);
  return scope.query<Row>(text, values);
}

/** Returns what asks a statement for the rows of keys that are ids, given as an array in its one parameter. */
export function rowsOfIds(text: string): (keys: readonly { readonly id: string }[]) => Query {
  return (keys) => ({ text, values: [`{${keys.map(({ id }) => id).join(",")}}`] });
}
