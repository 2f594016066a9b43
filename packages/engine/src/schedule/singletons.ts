import type { FunctionConfig } from "../app/function-config.ts";
import { compileExpression, keyText } from "../expression/expression.ts";
import type { JsonObject } from "../json.ts";
import type { Run } from "../run/run.ts";

/** Which run holds each singleton key. */
export interface Singletons {
  /** The key an event gives, `undefined` where the function is no singleton for it. */
  keyOf(fn: FunctionConfig, event: JsonObject): string | undefined;
  holder(key: string): Run | undefined;
  hold(key: string, run: Run): void;
  release(run: Run): void;
  clear(): void;
}

/** Creates {@link Singletons}. */
export function createSingletons(): Singletons {
  const holders = new Map<string, Run>();
  return {
    keyOf(fn, event) {
      if (fn.singleton === undefined) return undefined;
      const { key } = fn.singleton;
      if (key === undefined) return fn.id;
      const value = compileExpression(key).evaluate({ event });
      return value === false ? undefined : `${fn.id} ${keyText(value)}`;
    },
    holder: (key) => holders.get(key),
    hold: (key, run) => void holders.set(key, run),
    release(run) {
      if (run.singletonKey !== undefined && holders.get(run.singletonKey) === run) {
        holders.delete(run.singletonKey);
      }
    },
    clear: () => holders.clear(),
  };
}
