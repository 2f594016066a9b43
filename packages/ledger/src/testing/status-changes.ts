import type { TestDatabase } from "@evenkeel/test-postgres/testing";

/** A table whose changes of status are to be seen. */
export interface WatchedTable {
  readonly table: string;
  /** The column of the row's id. */
  readonly id: string;
  /** The column of its status. */
  readonly status: string;
  /** A column whose change means that a status followed itself, as a fence does. Defaults to none. */
  readonly repeat?: string;
  /** The status that follows itself so; in others its change is none. Defaults to every one. */
  readonly repeated?: string;
}

/** A change of status as a trigger saw it. `null`: the row did not exist before, or does not exist after. */
export interface StatusChange {
  readonly id: string;
  readonly before: string | null;
  readonly after: string | null;
}

/**
 * Lets triggers note every change of status in these tables of the schema `evenkeel`, whichever statement makes it.
 *
 * @returns A function that returns what was noted so far, in order.
 */
export async function watchStatuses(
  database: TestDatabase,
  tables: readonly WatchedTable[],
): Promise<() => Promise<StatusChange[]>> {
  await database.pool.query(`
    CREATE TABLE public.status_change (place serial, id text, before text, after text);
    CREATE FUNCTION public.note_status() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE
      before jsonb := to_jsonb(OLD);
      after jsonb := to_jsonb(NEW);
    BEGIN
      IF TG_OP <> 'UPDATE' OR before -> TG_ARGV[1] <> after -> TG_ARGV[1]
        OR before -> TG_ARGV[2] <> after -> TG_ARGV[2] AND TG_ARGV[3] IN ('', after ->> TG_ARGV[1])
      THEN
        INSERT INTO public.status_change (id, before, after)
        VALUES (COALESCE(after, before) ->> TG_ARGV[0], before ->> TG_ARGV[1], after ->> TG_ARGV[1]);
      END IF;
      RETURN NULL;
    END $$`);
  for (const { table, id, status, repeat, repeated } of tables) {
    await database.pool.query(`
      CREATE TRIGGER note_status AFTER INSERT OR UPDATE OR DELETE ON evenkeel.${table}
      FOR EACH ROW EXECUTE FUNCTION public.note_status('${id}', '${status}', '${repeat ?? status}', '${repeated ?? ""}')`);
  }
  return async () => {
    const { rows } = await database.pool.query<StatusChange>(
      `SELECT id, before, after FROM public.status_change ORDER BY place`,
    );
    return rows;
  };
}

/** The changes that a transition table has, as `FROM --> TO`, sorted. */
export function changesOf(transitions: Readonly<Record<string, readonly string[]>>): string[] {
  return Object.entries(transitions)
    .flatMap(([status, followers]) => followers.map((follower) => `${status} --> ${follower}`))
    .toSorted();
}
