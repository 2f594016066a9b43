/** A list of one table that is read from one index, the newest first. */
export interface NewestFirst {
  readonly relation: string;
  /** The table's name in the expressions of `where`. */
  readonly alias: string;
  /** The columns that the index begins with, each with the expression that it must equal. */
  readonly key: readonly (readonly [column: string, value: string])[];
  /** The columns that the index ends with: a time and an id. */
  readonly time: string;
  readonly id: string;
  /** What else holds of a row, as a condition each. */
  readonly where: readonly string[];
  /** Whether it goes on behind the one row of the CTE `last_seen (at, id)`. */
  readonly isBehind: boolean;
}

/**
 * Returns a query for a list, with `:limit` rows at most, to stand in FROM.
 *
 * The key is compared as a row and ordered by as a whole, so that only the index of that key serves the order. With
 * equality the planner may take the index of another order, and read past all that does not match.
 */
export function newestFirst({
  relation,
  alias,
  key,
  time,
  id,
  where,
  isBehind,
}: NewestFirst): string {
  const columns = [...key.map(([column]) => column), time].map((column) => `${alias}.${column}`);
  const values = key.map(([, value]) => value);
  const row = (last: string): string => `(${[...values, last].join(", ")})`;
  const end = isBehind ? "(SELECT at FROM last_seen)" : "'infinity'::timestamptz";
  const conditions = [
    `(${columns.join(", ")}) >= ${row("'-infinity'::timestamptz")}`,
    `(${columns.join(", ")}) <= ${row(end)}`,
    ...(isBehind
      ? [`(${alias}.${time}, ${alias}.${id}) < (${end}, (SELECT id FROM last_seen))`]
      : []),
    ...where,
  ];
  return `(
  SELECT ${alias}.* FROM evenkeel.${relation} AS ${alias}
  WHERE ${conditions.join("\n    AND ")}
  ORDER BY ${[...columns, `${alias}.${id}`].map((column) => `${column} DESC`).join(", ")} LIMIT :limit::int
)`;
}
