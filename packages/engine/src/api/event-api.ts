import { EventRefusedError } from "../event/event.ts";
import { readEventBody } from "./event-body.ts";
import type { Intake } from "../event/intake.ts";
import { answerJson } from "./json-response.ts";
import type { InboundRequest } from "./inbound-request.ts";

/** Answers `POST /e/:key`: takes in one event or several, with the real server's answers. */
export async function receiveEvents(
  request: InboundRequest,
  key: string,
  deps: { intake: Intake; eventKeys: readonly string[] },
): Promise<Response> {
  if (deps.eventKeys.length > 0 && !deps.eventKeys.includes(key)) {
    return answerJson({ error: "Event key not found" }, 401);
  }
  const refusal = deps.intake.refusal();
  if (refusal !== undefined) return answerJson({ error: refusal.reason }, refusal.status);
  const body = await readEventBody(request);
  const seed = request.headers.get("x-inngest-event-id-seed") ?? undefined;
  const ids: string[] = [];
  let problem: Error | undefined = body.refusal;
  for (const [index, item] of body.items.entries()) {
    try {
      ids.push(deps.intake.receive(item, { seed, index: index + 1 }).internalId);
    } catch (error) {
      if (!(error instanceof EventRefusedError)) throw error;
      problem = error;
      break;
    }
  }
  // The real server answers one empty id where it took in nothing.
  const answered = ids.length === 0 ? [""] : ids;
  if (problem === undefined) return answerJson({ ids: answered, status: 200 });
  return answerJson({ ids: answered, status: 400, error: problem.message }, 400);
}
