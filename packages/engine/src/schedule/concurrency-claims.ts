import type { FunctionConfig } from "../app/function-config.ts";
import { evaluateKey } from "../expression/expression.ts";
import type { JsonObject } from "../json.ts";
import type { ConcurrencyClaim } from "../run/run.ts";

/** Returns the concurrency limits that a run's requests stand under, with the keys its event gives. */
export function readRequestClaims(fn: FunctionConfig, event: JsonObject): ConcurrencyClaim[] {
  return fn.concurrency
    .filter((limit) => limit.limit > 0)
    .map((limit) => {
      const scope = limit.scope === "fn" ? `fn ${fn.id}` : limit.scope;
      const value = limit.key === undefined ? "" : ` ${evaluateKey(limit.key, event)}`;
      return { key: `${scope}${value}`, limit: limit.limit };
    })
    .toSorted((a, b) => a.limit - b.limit);
}

/** Returns the limits on whole runs, with the keys that the run's event gives. */
export function readRunClaims(fn: FunctionConfig, event: JsonObject): ConcurrencyClaim[] {
  return fn.runConcurrency.map((limit) => ({
    key: `run ${fn.id} ${limit.key === undefined ? "" : evaluateKey(limit.key, event)}`,
    limit: limit.limit,
  }));
}
