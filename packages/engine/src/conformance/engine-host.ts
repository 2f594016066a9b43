import { setImmediate } from "node:timers/promises";

import { createEngine } from "../engine.ts";
import { virtualClock } from "../time/clock.ts";
import { type ConformanceHost, ConformanceTimeoutError, type HostOptions } from "./host.ts";

const stepMs = 250;

/** A fresh engine in virtual time, with its apps in this process. */
export function createEngineHost(options: HostOptions = {}): ConformanceHost {
  const engine = createEngine({ clock: virtualClock(), maxCalls: 100, ...options });
  return {
    name: "engine",
    baseUrl: engine.url,
    fetch: engine.fetch,
    serve: (_appId, handler) => engine.register(handler),
    now: () => engine.now(),
    pass: (ms) => engine.advance(ms),
    async until(check, withinMs) {
      const deadlineMs = engine.now() + withinMs;
      for (;;) {
        await engine.settled();
        const found = await check();
        if (found !== undefined) return found;
        if (engine.now() >= deadlineMs) {
          throw new ConformanceTimeoutError(`nothing within ${withinMs} ms of virtual time`);
        }
        await engine.advance(stepMs);
      }
    },
    async work() {
      for (let turn = 0; turn < 20; turn += 1) await setImmediate();
    },
    close: () => engine.close(),
  };
}
