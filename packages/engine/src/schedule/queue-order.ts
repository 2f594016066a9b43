import type { FunctionConfig } from "../app/function-config.ts";
import { compileExpression, evaluateKey } from "../expression/expression.ts";
import type { JsonObject } from "../json.ts";

/** Returns the key under which a run is throttled; `undefined` where its function has no throttle. */
export function readThrottleKey(fn: FunctionConfig, event: JsonObject): string | undefined {
  if (fn.throttle === undefined) return undefined;
  const { key } = fn.throttle;
  return key === undefined ? fn.id : `${fn.id} ${evaluateKey(key, event)}`;
}

const maxHeadStartSeconds = 43_200;

/** Returns how far a run's priority puts it ahead, in milliseconds: only an integer expression counts. */
export function readHeadStartMs(fn: FunctionConfig, event: JsonObject): number {
  if (fn.priority === undefined) return 0;
  const value = compileExpression(fn.priority).evaluate({ event });
  if (typeof value !== "bigint") return 0;
  const seconds = Math.min(Math.max(Number(value), -maxHeadStartSeconds), maxHeadStartSeconds);
  return seconds * 1_000;
}
