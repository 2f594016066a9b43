import { parseArgs } from "node:util";

import { engineFaults, isEngineFault, type EngineFault } from "./faults/engine-faults.ts";

/** What the demo was asked for. */
export interface DemoOptions {
  /** One JSON object as the last line, progress on standard error. */
  readonly json: boolean;
  /** Leave everything running at the end, until Ctrl-C. */
  readonly keep: boolean;
  /** E-mails to ingest. */
  readonly mails: number;
  /** Faults of the embedded server, injected on top of what always goes wrong. */
  readonly faults: readonly EngineFault[];
}

/** How to call it. */
export const usage: string = `Usage: pnpm demo [--json] [--keep] [--mails N] [--fault NAME]...

  --json        print one JSON object as the last line
  --keep        leave everything running at the end and print the addresses
  --mails N     ingest N e-mails, 2000 to 6000; 2400 by default
  --fault NAME  ask the embedded Inngest server for a fault in mid-run, on top of what always goes wrong:
                ${Object.keys(engineFaults).join(", ")}`;

/** @throws Error with a line that says what is wrong with the arguments. */
export function readOptions(args: readonly string[]): DemoOptions | "help" {
  const { values } = parseArgs({
    args: args.filter((arg) => arg !== "--"),
    options: {
      json: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
      fault: { type: "string", multiple: true, default: [] },
      mails: { type: "string", default: "2400" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  const mails = Number(values.mails);
  if (!Number.isInteger(mails) || mails < 2_000 || mails > 6_000) {
    throw new Error("--mails takes a whole number from 2000 to 6000.");
  }
  const faults = values.fault.filter(isEngineFault);
  const unknown = values.fault.find((name) => !isEngineFault(name));
  if (unknown !== undefined) {
    const known = Object.keys(engineFaults).join(", ");
    throw new Error(`--fault ${unknown} is not known. There are: ${known}.`);
  }
  return { json: values.json, keep: values.keep, mails, faults };
}
