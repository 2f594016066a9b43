import { Client } from "pg";

/** Opens a transaction that holds a snapshot and an id, and leaves it idle. Answers what ends it. */
export async function openIdleTransaction(databaseUrl: string): Promise<() => Promise<void>> {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(`CREATE TABLE IF NOT EXISTS unrelated (id int)`);
  await client.query(`BEGIN ISOLATION LEVEL REPEATABLE READ`);
  await client.query(`SELECT count(*) FROM unrelated`);
  await client.query(`INSERT INTO unrelated VALUES (1)`);
  return () => client.end();
}
