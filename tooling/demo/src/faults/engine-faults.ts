import type { System } from "../system/system.ts";

/** The name of one of the embedded server's faults. */
export type EngineFault =
  | "duplicateEvents"
  | "reorderEvents"
  | "dropResponses"
  | "delayCalls"
  | "callTwice"
  | "refuseEvents"
  | "restart";

/** The embedded server's faults by name, each as its `POST /dev/faults` takes it. */
export const engineFaults: Readonly<Record<EngineFault, object>> = {
  duplicateEvents: { times: 6 },
  reorderEvents: { within: "2s", times: 6 },
  dropResponses: { times: 3 },
  delayCalls: { by: "2s", times: 3 },
  callTwice: { times: 3 },
  refuseEvents: { for: "3s" },
  restart: {},
};

/** Whether this is the name of one of the embedded server's faults. */
export function isEngineFault(name: string): name is EngineFault {
  return Object.hasOwn(engineFaults, name);
}

/**
 * Asks the embedded server for a fault of its own.
 *
 * @throws Error when the server does not take it, as a real one, which knows no faults.
 */
export async function askForFault({ gate }: System, fault: EngineFault): Promise<void> {
  const body = JSON.stringify({ fault, ...engineFaults[fault] });
  const response = await fetch(`${gate.url}/dev/faults`, { method: "POST", body });
  // A real server responds to any path, with its console's page.
  const isTaken = response.ok && response.headers.get("content-type")?.includes("json") === true;
  await response.body?.cancel();
  if (isTaken) return;
  throw new Error(`The Inngest server takes no fault ${fault} (HTTP ${response.status}).`);
}
