import { type Json, type JsonObject, isObject, parseJson } from "../json.ts";

/** An error as `inngest/function.failed` carries it. */
export interface StandardError {
  readonly error: string;
  readonly name: string;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: Json;
}

const defaultMessage = "Function execution error";

/** Builds the error of a failed run from what its function returned and what went wrong around it. */
export function toStandardError(output: Json | undefined, message: string): StandardError {
  const fields = errorFields(output);
  const text = (key: string) => {
    const value = fields[key];
    return typeof value === "string" && value !== "" ? value : undefined;
  };
  const stack = text("stack");
  const cause = fields["cause"];
  return {
    error: text("error") ?? message,
    name: text("name") ?? "Error",
    message: text("message") ?? message ?? defaultMessage,
    ...(stack === undefined ? {} : { stack }),
    ...(cause === undefined ? {} : { cause }),
  };
}

function errorFields(output: Json | undefined): JsonObject {
  if (output === undefined || output === null) return {};
  if (!isObject(output)) return { message: output };
  for (const key of ["error", "body"]) {
    const inner = output[key];
    if (isObject(inner)) return inner;
    const parsed = typeof inner === "string" ? parseJson(inner) : undefined;
    if (isObject(parsed)) return parsed;
  }
  return output;
}
