/** A `pg` client, pool client or pool. */
export interface PgQueryable {
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
}

/** A Prisma client, or the client that `prisma.$transaction(async (tx) => …)` hands out. */
export interface PrismaRawClient {
  $queryRawUnsafe(query: string, ...values: unknown[]): PromiseLike<unknown>;
}

/** A client of `postgres` (postgres.js), or the one that `sql.begin(async (tx) => …)` hands out. */
export interface PostgresJsClient {
  unsafe(query: string, parameters?: unknown[]): PromiseLike<readonly unknown[]>;
  typed(value: string, type: number): unknown;
}

/** A `Kysely` instance, or the transaction that `db.transaction().execute(async (tx) => …)` hands out. */
export interface KyselyExecutor {
  executeQuery(
    query: { readonly sql: string } | { compile(): unknown },
  ): Promise<{ rows: unknown[] }>;
}

/** A Drizzle database on Postgres, or the transaction that `db.transaction(async (tx) => …)` hands out. */
export interface DrizzleExecutor {
  execute(query: string | { getSQL(): unknown }): PromiseLike<unknown>;
}

/** What a caller can pass to work inside its own transaction: the client that its library hands out for it. */
export type TransactionClient =
  | PgQueryable
  | PrismaRawClient
  | PostgresJsClient
  | KyselyExecutor
  | DrizzleExecutor;

/** The method that tells each kind of client, the most telling first. */
const methods = ["$queryRawUnsafe", "executeQuery", "unsafe", "query", "execute"] as const;

/** Whether a value is a client that {@link runOn} can work with. A ledger and a promise of a client are none. */
export function isTransactionClient(value: unknown): value is TransactionClient {
  return methods.some((method) => hasMethod(value, method));
}

/** Runs one statement of `$1`, `$2`, … by a caller's client. Returns its rows, and throws what the client throws. */
export async function runOn(
  client: TransactionClient,
  text: string,
  values: readonly unknown[],
): Promise<unknown> {
  if ("$queryRawUnsafe" in client) return client.$queryRawUnsafe(text, ...values);
  if ("executeQuery" in client) return (await client.executeQuery(compiled(text, values))).rows;
  if ("unsafe" in client) return client.unsafe(text, values.map(keepText(client)));
  // Drizzle has a `query` as well, which is no function.
  if (isPg(client)) return (await client.query(text, [...values])).rows;
  try {
    return rowsOf(await client.execute(drizzleQuery(text, values)));
  } catch (error) {
    // Its own error has the parameters in its message, and that of Postgres as its cause.
    throw error instanceof Error && error.cause instanceof Error ? error.cause : error;
  }
}

function isPg(client: PgQueryable | DrizzleExecutor): client is PgQueryable {
  return hasMethod(client, "query");
}

function hasMethod(value: unknown, method: string): boolean {
  const canHave = (typeof value === "object" && value !== null) || typeof value === "function";
  return canHave && typeof Reflect.get(value, method) === "function";
}

/** A statement as Kysely compiles one of `sql.raw`: its plugins see a node that says nothing of tables. */
function compiled(sql: string, parameters: readonly unknown[]) {
  const query = { kind: "RawNode", sqlFragments: [sql], parameters: [] } as const;
  return { sql, parameters, query, queryId: { queryId: "evenkeel" } };
}

/** A statement as Drizzle takes one from anything that is no table: what `getSQL` returns makes its text. */
function drizzleQuery(sql: string, params: readonly unknown[]) {
  return { getSQL: () => ({ toQuery: () => ({ sql, params }) }) };
}

/** `pg` wraps rows, under Drizzle too; postgres.js returns them as they are. */
function rowsOf(result: unknown): unknown {
  return typeof result === "object" && result !== null && "rows" in result ? result.rows : result;
}

/** The type `text` in Postgres. */
const textType = 25;

/**
 * A parameter for postgres.js: it would make JSON of a text that the statement casts to `jsonb`, so that a list
 * became a text. Named a text, it is left as it is, and the statement's cast reads it.
 */
function keepText(client: PostgresJsClient) {
  return (value: unknown): unknown =>
    typeof value === "string" && /^[[{"]/u.test(value) ? client.typed(value, textType) : value;
}
