import { Client } from "pg";

import { openBenchQueue, type BenchQueue } from "./bench-queue.ts";

/** One number that was measured. */
export interface Figure {
  /** The same in every build, and with `--quick`. */
  readonly name: string;
  readonly value: number;
}

/** What a scenario measures in. */
export interface World {
  /** Whether there is little time. */
  readonly isQuick: boolean;
  /** Opens a queue in a new database. */
  readonly createQueue: () => Promise<BenchQueue>;
}

/** One thing to be measured of a build, from its own fill to its figures. */
export interface Scenario {
  readonly name: string;
  measure(world: World): Promise<Figure[]>;
}

/** A world on a server. `close` removes what was created. */
export function openWorld(serverUrl: string, isQuick: boolean): World & { close(): Promise<void> } {
  const opened: { readonly name: string; readonly queue: BenchQueue }[] = [];
  return {
    isQuick,
    createQueue: async () => {
      const name = `claims_${process.pid}_${opened.length}`;
      await administer(serverUrl, `CREATE DATABASE ${name}`);
      const url = new URL(serverUrl);
      url.pathname = `/${name}`;
      const queue = await openBenchQueue(url.href);
      opened.push({ name, queue });
      return queue;
    },
    close: async () => {
      for (const { name, queue } of opened) {
        await queue.close();
        await administer(serverUrl, `DROP DATABASE ${name} WITH (FORCE)`);
      }
    },
  };
}

async function administer(serverUrl: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: serverUrl });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
