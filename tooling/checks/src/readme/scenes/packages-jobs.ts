import { createLedger, type Ledger } from "@evenkeel/ledger";
import { createTestDatabase } from "@evenkeel/test-postgres/testing";
import type { PoolClient } from "pg";

/** What the README of jobs takes for granted, for real: its code runs against a Postgres of its own. */

const database = await createTestDatabase();
await database.pool.query(
  `CREATE TABLE draft (id text PRIMARY KEY, text text); CREATE TABLE invoice (order_id text)`,
);

export const ledger: Ledger = createLedger({ pool: database.pool });
export const tenantId = "acme";

type Queryable = Pick<PoolClient, "query">;

/** The two ways of a Prisma client to run SQL, on a pool: what the README shows needs no more of it. */
class RawClient {
  readonly #queryable: Queryable;
  constructor(queryable: Queryable) {
    this.#queryable = queryable;
  }
  async $queryRawUnsafe(query: string, ...values: unknown[]): Promise<unknown> {
    const { rows } = await this.#queryable.query(query, values);
    return rows;
  }
  async $executeRaw(strings: TemplateStringsArray, ...values: unknown[]): Promise<number> {
    const text = strings.reduce((query, part, index) => `${query}$${index}${part}`);
    const { rowCount } = await this.#queryable.query(text, values);
    return rowCount ?? 0;
  }
}

class Client extends RawClient {
  async $transaction<Result>(work: (tx: RawClient) => Promise<Result>): Promise<Result> {
    const connection = await database.pool.connect();
    try {
      await connection.query("BEGIN");
      const result = await work(new RawClient(connection));
      await connection.query("COMMIT");
      return result;
    } catch (error) {
      await connection.query("ROLLBACK");
      throw error;
    } finally {
      connection.release();
    }
  }
}

export const prisma: Client = new Client(database.pool);

/** A provider that knows idempotency keys and is busy at first. */
class Provider {
  readonly replies: { readonly draftId: string; readonly key: string }[] = [];
  readonly mails: string[] = [];
  #isBusy = true;
  async sendReply(draftId: string, key: string): Promise<{ status: number; id: string }> {
    if (this.#isBusy) {
      this.#isBusy = false;
      return { status: 429, id: "" };
    }
    this.replies.push({ draftId, key });
    return { status: 200, id: `reply-${draftId}` };
  }
  async mail(draftId: string): Promise<void> {
    this.mails.push(draftId);
  }
}

export const provider: Provider = new Provider();

export class AddressRefused extends Error {}

/** Returns the orders that the README's code booked. */
export async function bookedOrders(): Promise<string[]> {
  const { rows } = await database.pool.query<{ order_id: string }>("SELECT order_id FROM invoice");
  return rows.map((row) => row.order_id);
}

/** Ends what the scene opened. */
export async function close(): Promise<void> {
  await ledger.close();
  await database.drop();
}
