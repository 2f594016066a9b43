import type { FunctionConfig } from "../app/function-config.ts";
import { compileExpression, keyText } from "../expression/expression.ts";
import type { JsonObject } from "../json.ts";
import { createGcra } from "../queue/gcra.ts";
import { createExpiringMap } from "../time/expiring-map.ts";

/** The limits that reject an event before a run exists: function idempotency and rate limits. */
export interface StartLimits {
  /**
   * Asks to start a function for an event. The same `admissionKey` asks once: an event that came
   * before is let through, so that its duplicate is known as one.
   */
  admit(
    fn: FunctionConfig,
    event: JsonObject,
    admissionKey: string,
    nowMs: number,
  ):
    | { readonly isAllowed: true }
    | {
        readonly isAllowed: false;
        readonly by: "idempotency" | "rate limit";
        readonly key: string;
      };
  clear(): void;
}

const dayMs = 86_400_000;
/** How long the server remembers which event it has let through. */
const admissionMemoryMs = 30 * 60_000;

/** Creates {@link StartLimits}. */
export function createStartLimits(): StartLimits {
  const pace = createGcra();
  const admitted = createExpiringMap<true>(admissionMemoryMs);
  return {
    admit(fn, event, admissionKey, nowMs) {
      const limit =
        fn.idempotency === undefined
          ? fn.rateLimit
          : { limit: 1, periodMs: dayMs, burst: 0, key: fn.idempotency };
      if (limit === undefined) return { isAllowed: true };
      const value = limit.key === undefined ? "" : compileExpression(limit.key).evaluate({ event });
      if (value === false) return { isAllowed: true };
      if (admitted.get(admissionKey, nowMs) === true) return { isAllowed: true };
      const key = keyText(value);
      const admission = pace.admit(`${fn.id} ${key}`, limit, nowMs);
      if (!admission.isAllowed) {
        return {
          isAllowed: false,
          by: fn.idempotency === undefined ? "rate limit" : "idempotency",
          key,
        };
      }
      admitted.set(admissionKey, true, nowMs);
      return { isAllowed: true };
    },
    clear() {
      pace.clear();
      admitted.clear();
    },
  };
}
