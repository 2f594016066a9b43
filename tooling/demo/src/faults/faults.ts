import { setTimeout as sleep } from "node:timers/promises";

import type { System, SystemSize } from "../system/system.ts";
import { askForFault, type EngineFault } from "./engine-faults.ts";

/** Hosts at once: claims of several are under way when one dies. */
export const size: SystemSize = { webs: 2, workers: 3 };

type Chance = () => number;
type Fault = (system: System, chance: Chance) => Promise<unknown>;

/** What can go wrong, each with what it does. */
const faults: Readonly<Record<string, Fault>> = {
  "worker killed": (system, chance) =>
    system.replace("workers", Math.floor(chance() * size.workers)),
  "web killed": (system, chance) => system.replace("webs", Math.floor(chance() * size.webs)),
  "Inngest's memory lost": (system) => system.replaceServer(),
  "Inngest unavailable": async ({ gate }) => {
    await gate.shut();
    await sleep(3_000);
    await gate.open();
  },
  "connections cut": async ({ pool }) => {
    await pool.query(
      `SELECT pg_terminate_backend("pid") FROM "pg_stat_activity"
       WHERE "datname" = current_database() AND "pid" <> pg_backend_pid()`,
    );
  },
  "Postgres restarted": async ({ restartPostgres }) => restartPostgres?.(),
  "events twice": (system) => ask(system, "duplicateEvents"),
  "events reordered": (system) => ask(system, "reorderEvents"),
  "responses lost": (system) => ask(system, "dropResponses"),
  "calls twice": (system) => ask(system, "callTwice"),
};

/** A real server knows no faults, and one that is unavailable takes none: then the others have to do. */
async function ask(system: System, fault: EngineFault): Promise<false | undefined> {
  try {
    await askForFault(system, fault);
    return undefined;
  } catch {
    return false;
  }
}

/** Injects a fault by its name. `false`: it could not be injected. */
export async function inject(name: string, system: System, chance: Chance): Promise<boolean> {
  return (await faults[name]?.(system, chance)) !== false;
}

/** Every fault in an order of chance, and then again: none is missing for long. Postgres goes down twice. */
export function* drawFaults(chance: Chance): Generator<string, never> {
  for (;;) {
    const bag = [...Object.keys(faults), "worker killed", "Postgres restarted"];
    while (bag.length > 0) yield bag.splice(Math.floor(chance() * bag.length), 1)[0] ?? "";
  }
}
