import type { CallFault } from "../fault/faults.ts";
import type { Journal } from "../journal.ts";
import type { Job } from "../queue/job.ts";
import { signBody } from "../transport/signature.ts";
import {
  type AppRequest,
  type AppResponse,
  type Transport,
  TransportError,
} from "../transport/transport.ts";
import { buildCallBody } from "./call-request.ts";
import { type CallResponse, failure, readCallResponse } from "./call-response.ts";

/** Sends the requests that jobs stand for. */
export interface AppCaller {
  /** Sends a job's request under a fault and reads the response; a call that breaks is a response of kind `error`. */
  call(job: Job, fault: CallFault): Promise<CallResponse>;
}

/** How long an app may take for one request, in milliseconds: two hours. */
const maxCallMs: number = 2 * 3_600_000;

/** Creates an {@link AppCaller}. */
export function createAppCaller(deps: {
  transport: Transport;
  journal: Journal;
  now: () => number;
  fromMachine: (timestampMs: number) => number;
  /** The machine's clock: an app checks a signature's age against its own. */
  machineNow: () => number;
  nextId: () => string;
  signingKey: string | undefined;
}): AppCaller {
  const { transport, journal, now, nextId, signingKey } = deps;

  function buildRequest(job: Job): AppRequest {
    const requestId = nextId();
    const { body, text } = buildCallBody(job, requestId);
    const stepId = job.stepId ?? "step";
    return {
      method: "POST",
      url: withStepId(job.run.fn.url, stepId),
      headers: {
        "content-type": "application/json",
        "x-run-id": job.run.id,
        "x-request-id": requestId,
        "x-inngest-generation-id": String(job.generation),
        "x-inngest-job-id": job.id,
        "x-inngest-req-version": String(job.run.requestVersion),
        "x-inngest-step-id": stepId,
        ...(signingKey === undefined
          ? {}
          : { "x-inngest-signature": signBody(body, signingKey, deps.machineNow()) }),
      },
      body: text,
      timeoutMs: maxCallMs,
    };
  }

  async function sendUnder(fault: CallFault, request: AppRequest): Promise<AppResponse> {
    const sent = [transport.send(request), ...(fault.isSentTwice ? [transport.send(request)] : [])];
    const [response] = await Promise.all(sent);
    if (response === undefined || fault.isResponseDropped) {
      throw new TransportError("Your server closed the request before finishing.");
    }
    return response;
  }

  return {
    async call(job, fault) {
      try {
        const response = await sendUnder(fault, buildRequest(job));
        return readCallResponse(response, now(), deps.fromMachine);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (!(error instanceof TransportError)) {
          journal.record("error", "engine.fault", { runId: job.run.id, error: message });
        }
        return failure(message, undefined);
      }
    },
  };
}

function withStepId(url: string, stepId: string): string {
  if (stepId === "step" && url.endsWith("stepId=step")) return url;
  const parsed = new URL(url);
  parsed.searchParams.set("stepId", stepId);
  return parsed.href;
}
