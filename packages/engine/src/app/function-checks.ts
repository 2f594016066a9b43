import { compileExpression } from "../expression/expression.ts";
import { parseDurationMs } from "../time/duration.ts";
import { FunctionRefusedError } from "./function-config.ts";

/** Refuses a function; the message is the real server's. */
export function refuse(reason: string): never {
  throw new FunctionRefusedError(reason);
}

/** Returns an expression that compiles; `undefined` for an empty one. Refuses any other. */
export function checkExpression(
  expression: string | null | undefined,
  what: string,
): string | undefined {
  if (expression === null || expression === undefined || expression === "") return undefined;
  try {
    compileExpression(expression);
  } catch {
    refuse(`${what} is invalid: ${expression}`);
  }
  return expression;
}

/** Returns a key as a field that is left out where there is no key. */
export function optionalKey(key: string | undefined): { key?: string } {
  return key === undefined ? {} : { key };
}

/** Reads a duration in milliseconds; refuses a text that is no duration. */
export function readDuration(text: string, what: string): number {
  return parseDurationMs(text) ?? refuse(`${what} of '${text}' is invalid`);
}
