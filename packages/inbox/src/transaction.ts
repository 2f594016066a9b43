import type { Pool, PoolClient } from "pg";

/** Runs work in a transaction: committed when it returns, rolled back when it throws. */
export async function inTransaction<T>(
  pool: Pool,
  work: (tx: PoolClient) => Promise<T>,
): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  // A cut connection rejects the statement under way. The event that comes with it would end the process.
  const noteBroken = (error: Error): void => {
    broken = error;
  };
  client.on("error", noteBroken);
  try {
    await client.query("BEGIN");
    const result = await work(client);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK").catch(noteBroken);
    throw error;
  } finally {
    client.off("error", noteBroken);
    // A connection in an unknown state is not given to anyone else.
    client.release(broken);
  }
}
