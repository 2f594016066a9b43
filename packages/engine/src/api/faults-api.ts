import { z } from "zod";

import type { FaultControls } from "../fault/faults.ts";
import { parseJson } from "../json.ts";
import { respondError, respondJson } from "./json-response.ts";

const duration = z.union([z.string(), z.number()]);
const calls = {
  function: z.string().optional(),
  step: z.string().optional(),
  times: z.number().int().positive().optional(),
};
const faultSchema = z.discriminatedUnion("fault", [
  z.object({
    fault: z.literal("duplicateEvents"),
    name: z.string().optional(),
    times: calls.times,
  }),
  z.object({ fault: z.literal("reorderEvents"), within: duration, times: calls.times }),
  z.object({ fault: z.literal("dropResponses"), ...calls }),
  z.object({ fault: z.literal("delayCalls"), by: duration, ...calls }),
  z.object({ fault: z.literal("callTwice"), ...calls }),
  z.object({
    fault: z.literal("refuseEvents"),
    for: duration,
    status: z.number().int().optional(),
  }),
  z.object({ fault: z.literal("restart") }),
  z.object({ fault: z.literal("clear") }),
]);

/** What the fault API acts on. */
export interface FaultTarget extends FaultControls {
  restart(): Promise<void>;
}

/** The fields that were given: what is left out keeps its default. */
function given<Fields extends object>(
  fields: Fields,
): { [Name in keyof Fields]: Exclude<Fields[Name], undefined> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  // Only members that hold undefined are gone, which is what the type says.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return Object.fromEntries(entries) as {
    [Name in keyof Fields]: Exclude<Fields[Name], undefined>;
  };
}

/** Serves `POST /dev/faults`, which injects a fault into a running engine; not part of the protocol. */
export async function injectFault(text: string, faults: FaultTarget): Promise<Response> {
  const parsed = faultSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    return respondError(400, `no such fault: ${z.prettifyError(parsed.error)}`);
  }
  const request = parsed.data;
  try {
    switch (request.fault) {
      case "duplicateEvents":
        faults.duplicateEvents(given(request));
        break;
      case "reorderEvents":
        faults.reorderEvents(given(request));
        break;
      case "dropResponses":
        faults.dropResponses(given(request));
        break;
      case "delayCalls":
        faults.delayCalls(given(request));
        break;
      case "callTwice":
        faults.callTwice(given(request));
        break;
      case "refuseEvents":
        faults.refuseEvents(given(request));
        break;
      case "restart":
        await faults.restart();
        break;
      case "clear":
        faults.clear();
        break;
    }
  } catch (error) {
    if (error instanceof TypeError) return respondError(400, error.message);
    throw error;
  }
  return respondJson({ ok: true, fault: request.fault });
}
