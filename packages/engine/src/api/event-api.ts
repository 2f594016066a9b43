import { EventRefusedError } from "../event/event.ts";
import type { Intake } from "../event/intake.ts";
import { readEventBody } from "./event-body.ts";
import type { InboundRequest } from "./inbound-request.ts";
import { respondJson } from "./json-response.ts";

/** Serves `POST /e/:key`: takes in one event or several, with the real server's responses. */
export async function receiveEvents(
  request: InboundRequest,
  key: string,
  deps: { intake: Intake; eventKeys: readonly string[] },
): Promise<Response> {
  if (deps.eventKeys.length > 0 && !deps.eventKeys.includes(key)) {
    return respondJson({ error: "Event key not found" }, 401);
  }
  const refusal = deps.intake.refusal();
  if (refusal !== undefined) return respondJson({ error: refusal.reason }, refusal.status);
  const body = await readEventBody(request);
  const seed = request.headers.get("x-inngest-event-id-seed") ?? undefined;
  const ids: string[] = [];
  let problem: Error | undefined = body.refusal;
  for (const [index, item] of body.items.entries()) {
    try {
      const origin = { seed, index: index + 1, afterResponse: request.afterResponse };
      ids.push(deps.intake.receive(item, origin).internalId);
    } catch (error) {
      if (!(error instanceof EventRefusedError)) throw error;
      problem = error;
      break;
    }
  }
  // The real server returns one empty id where it took in nothing.
  const returnedIds = ids.length === 0 ? [""] : ids;
  if (problem === undefined) return respondJson({ ids: returnedIds, status: 200 });
  return respondJson({ ids: returnedIds, status: 400, error: problem.message }, 400);
}
