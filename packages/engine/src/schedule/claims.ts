import type { FunctionConfig } from "../app/function-config.ts";
import { compileExpression, keyText } from "../expression/expression.ts";
import type { JsonObject } from "../json.ts";
import type { Claim } from "../run/run.ts";

/** The concurrency limits that a run's requests stand under, with the keys its event gives. */
export function readClaims(fn: FunctionConfig, event: JsonObject): Claim[] {
  return fn.concurrency
    .filter((limit) => limit.limit > 0)
    .map((limit) => {
      const scope = limit.scope === "fn" ? `fn ${fn.id}` : limit.scope;
      const value = limit.key === undefined ? "" : ` ${evaluateKey(limit.key, event)}`;
      return { key: `${scope}${value}`, limit: limit.limit };
    })
    .toSorted((a, b) => a.limit - b.limit);
}

/** The limits on whole runs. */
export function readRunClaims(fn: FunctionConfig, event: JsonObject): Claim[] {
  return fn.runConcurrency.map((limit) => ({
    key: `run ${fn.id} ${limit.key === undefined ? "" : evaluateKey(limit.key, event)}`,
    limit: limit.limit,
  }));
}

/** The key under which a run is throttled, where its function has a throttle. */
export function readThrottleKey(fn: FunctionConfig, event: JsonObject): string | undefined {
  if (fn.throttle === undefined) return undefined;
  const { key } = fn.throttle;
  return key === undefined ? fn.id : `${fn.id} ${evaluateKey(key, event)}`;
}

const maxHeadStartSeconds = 43_200;

/** How far a run's priority lets it stand ahead, in milliseconds: only an integer expression counts. */
export function readHeadStartMs(fn: FunctionConfig, event: JsonObject): number {
  if (fn.priority === undefined) return 0;
  const value = compileExpression(fn.priority).evaluate({ event });
  if (typeof value !== "bigint") return 0;
  const seconds = Math.min(Math.max(Number(value), -maxHeadStartSeconds), maxHeadStartSeconds);
  return seconds * 1_000;
}

function evaluateKey(expression: string, event: JsonObject): string {
  return keyText(compileExpression(expression).evaluate({ event }));
}
