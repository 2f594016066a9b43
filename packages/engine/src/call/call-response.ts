import { type Json, isObject, parseJson, textOf } from "../json.ts";
import type { StandardError } from "../run/run-error.ts";
import { type AppResponse, maxResponseBytes } from "../transport/transport.ts";
import { type Opcode, UnreadableOpcodeError, readOpcode } from "./opcode.ts";

/** What an app's response to a call request says. */
export type CallResponse =
  | {
      readonly kind: "ops";
      readonly ops: readonly Opcode[];
      readonly requestVersion: number;
      readonly isFinal: boolean;
      readonly retryAtMs: number | undefined;
    }
  | { readonly kind: "result"; readonly output: Json }
  | {
      readonly kind: "error";
      readonly message: string;
      /** What the function responded with, if anything. */
      readonly output: Json | undefined;
      /** The server's own account of the failure, where the app gave none. */
      readonly error: StandardError | undefined;
      readonly isFinal: boolean;
      readonly retryAtMs: number | undefined;
    };

const notSdk = "The response did not come from an Inngest SDK";
const maxRetryMs = 86_400_000;
const minRetryMs = 1_000;
const maxStepBytes = 4 * 1024 * 1024;

/** Reads an app's response as the real server does. */
export function readCallResponse(
  response: AppResponse,
  nowMs: number,
  fromMachine: (ms: number) => number,
): CallResponse {
  const unwrapped = response.status === 201 ? unwrapStream(response) : response;
  if (unwrapped === undefined) return failure("error parsing stream", undefined);
  const { status, headers, body } = unwrapped;
  const isSdk = (headers.get("x-inngest-sdk") ?? "") !== "";
  const isFinal = headers.get("x-inngest-no-retry") === "true";
  const retryAtMs = readRetryAfter(headers.get("retry-after"), nowMs, fromMachine);
  if (body.length > maxResponseBytes) {
    return failure("output_too_large", {
      error: "output_too_large: Your function's response body exceeds the maximum size limit",
      name: "output_too_large",
      message: "Your function's response body exceeds the maximum size limit",
    });
  }
  if (status === 206) {
    if (!isSdk) return failure(notSdk, notSdkError());
    return readOps(body, Number(headers.get("x-inngest-req-version") ?? "0"), isFinal, retryAtMs);
  }
  const output = readOutput(body);
  if (status < 200 || status > 299) {
    return {
      kind: "error",
      message: isFinal ? "NonRetriableError" : `invalid status code: ${status}`,
      output,
      error: isSdk ? undefined : upstreamError(status, body, headers.get("content-type")),
      isFinal,
      retryAtMs,
    };
  }
  if (!isSdk) return failure(notSdk, notSdkError());
  if (isFinal) {
    return {
      kind: "error",
      message: "NonRetriableError",
      output,
      error: undefined,
      isFinal,
      retryAtMs,
    };
  }
  return { kind: "result", output };
}

/** The response that stands for no usable one; the call is tried again. */
export function failure(message: string, error: StandardError | undefined): CallResponse {
  return {
    kind: "error",
    message,
    output: undefined,
    error: error ?? { error: message, name: "Error", message },
    isFinal: false,
    retryAtMs: undefined,
  };
}

function notSdkError(): StandardError {
  return { error: `not_sdk: ${notSdk}`, name: "not_sdk", message: notSdk };
}

function upstreamError(status: number, body: string, contentType: string | null): StandardError {
  const message = `Your server returned HTTP ${status} before the SDK responded.`;
  const shown = body.length > 8_192 ? `${body.slice(0, 8_192)}\n… (truncated)` : body;
  const stack =
    body === ""
      ? message
      : `Upstream response (${contentType ?? "unknown content-type"}):\n${shown}`;
  return { error: message, name: "Server returned a fatal error", message, stack };
}

/** A response that was streamed: its true status, headers and body stand in the body. */
function unwrapStream(response: AppResponse): AppResponse | undefined {
  const stream = parseJson(response.body);
  if (!isObject(stream) || typeof stream["status"] !== "number") return undefined;
  const headers = new Headers(response.headers);
  if (isObject(stream["headers"])) {
    for (const [name, value] of Object.entries(stream["headers"]))
      headers.set(name, textOf(value) ?? JSON.stringify(value));
  }
  const body = stream["body"];
  return {
    status: stream["status"],
    headers,
    body: typeof body === "string" ? body : JSON.stringify(body ?? null),
  };
}

function readRetryAfter(
  text: string | null,
  nowMs: number,
  fromMachine: (ms: number) => number,
): number | undefined {
  if (text === null || text === "") return undefined;
  const seconds = text.length <= 7 ? Number.parseInt(text, 10) : Number.NaN;
  const atMs =
    seconds > 0
      ? Math.floor(nowMs / 1_000) * 1_000 + seconds * 1_000
      : fromMachine(Date.parse(text));
  if (Number.isNaN(atMs)) return undefined;
  return Math.min(Math.max(atMs, nowMs + minRetryMs), nowMs + maxRetryMs);
}

function readOutput(body: string): Json {
  if (body === "") return null;
  const value = parseJson(body);
  if (value === undefined) return body;
  if (typeof value === "string" && value.startsWith("{") && value.endsWith("}")) {
    const inner = parseJson(value);
    if (isObject(inner)) return inner;
  }
  return value;
}

function readOps(
  body: string,
  requestVersion: number,
  isFinal: boolean,
  retryAtMs: number | undefined,
): CallResponse {
  const value = parseJson(body);
  if (body.trim() === "") return failure("no response data", undefined);
  if (!Array.isArray(value) && !isObject(value)) {
    return failure(
      "error reading generator opcode response: expected JSON object or array",
      undefined,
    );
  }
  const ops: Opcode[] = [];
  for (const item of Array.isArray(value) ? value : [value]) {
    const op = tryReadOpcode(item);
    if (typeof op === "string") {
      return failure(`error reading generator opcode response: ${op}`, undefined);
    }
    const problem = checkSizes(op);
    if (problem !== undefined) {
      return failure(`error validating generator opcode ${op.id}: ${problem}`, undefined);
    }
    ops.push(op);
  }
  return { kind: "ops", ops, requestVersion, isFinal, retryAtMs };
}

function checkSizes(op: Opcode): string | undefined {
  if (op.op !== "StepRun" && op.op !== "Step") return undefined;
  if (JSON.stringify(op.data ?? null).length > maxStepBytes) {
    return "step output size is greater than the limit";
  }
  const input = op.opts["input"];
  return input !== undefined && JSON.stringify(input).length > maxStepBytes
    ? "step input size is greater than the limit"
    : undefined;
}

/** Reads an opcode, or says why there is none to read. */
function tryReadOpcode(item: Json): Opcode | string {
  try {
    return readOpcode(item);
  } catch (error) {
    if (!(error instanceof UnreadableOpcodeError)) throw error;
    return error.message;
  }
}
