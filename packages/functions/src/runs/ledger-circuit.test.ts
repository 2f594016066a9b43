import { silentLogger, type Clock } from "@evenkeel/core";
import { expect, test } from "vitest";

import { LedgerCircuit } from "./ledger-circuit.ts";

/** A clock that stands still until it is moved; a timer fires when its time has come. */
function manualClock(): Clock & { advance(ms: number): void } {
  let nowMs = 0;
  const timers = new Set<{ atMs: number; callback: () => void }>();
  return {
    now: () => nowMs,
    setTimer: (callback, delayMs) => {
      const timer = { atMs: nowMs + delayMs, callback };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    advance: (ms) => {
      nowMs += ms;
      for (const timer of timers) if (timer.atMs <= nowMs && timers.delete(timer)) timer.callback();
    },
  };
}

const unavailable = (): Promise<never> => Promise.reject(new Error("connection refused"));

test("a failure opens the circuit for the cooldown, and then it is tried again", async () => {
  const clock = manualClock();
  const circuit = new LedgerCircuit({
    logger: silentLogger,
    timeoutMs: 100,
    cooldownMs: 1_000,
    clock,
  });
  let calls = 0;
  const call = async (): Promise<number> => (calls += 1);
  expect(await circuit.attempt("begin", call)).toBe(1);
  expect(await circuit.attempt("begin", unavailable)).toBeUndefined();
  clock.advance(999);
  expect(await circuit.attempt("begin", call)).toBeUndefined();
  clock.advance(1);
  expect(await circuit.attempt("begin", call)).toBe(2);
});

test("a call that takes too long counts as failed", async () => {
  const clock = manualClock();
  const logged: unknown[] = [];
  const logger = { ...silentLogger, warn: (...line: unknown[]) => void logged.push(line) };
  const circuit = new LedgerCircuit({ logger, timeoutMs: 100, cooldownMs: 1_000, clock });
  const slow = circuit.attempt("heartbeat", () => new Promise<never>(() => {}));
  clock.advance(100);
  expect(await slow).toBeUndefined();
  expect(logged).toEqual([
    [
      "runs.not_recorded",
      { during: "heartbeat", cooldownMs: 1_000, error: expect.stringContaining("100 ms") },
    ],
  ]);
});

test("a record that Postgres refused for its values opens nothing", async () => {
  const options = { logger: silentLogger, timeoutMs: 100, cooldownMs: 1_000, clock: manualClock() };
  const circuit = new LedgerCircuit(options);
  for (const code of ["22P05", "22021", "23514", "54000"]) {
    const refused = Object.assign(new Error("unsupported Unicode escape sequence"), { code });
    expect(await circuit.attempt("finish", () => Promise.reject(refused))).toBeUndefined();
    expect(await circuit.attempt("finish", () => Promise.resolve(true))).toBe(true);
  }
});
