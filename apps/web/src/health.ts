import { EvenkeelError, withDeadline } from "@evenkeel/core";

/** What `/api/health` tells: whether the ledger responds and is migrated, or the code of why not. */
export type Health = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** How long an answer is given again, in milliseconds: anyone may ask, and the database must not hear each of them. */
const keptMs = 5_000;

/** How long the ledger may take, in milliseconds. */
const timeoutMs = 5_000;

/**
 * Creates a health check that asks the ledger once in five seconds at most, however many ask at once. One that does
 * not answer counts as unhealthy.
 */
export function createHealthCheck(
  ping: () => Promise<unknown>,
  clock: { now(): number } = performance,
): () => Promise<Health> {
  let answer: Promise<Health> | undefined;
  let askedAtMs = Number.NEGATIVE_INFINITY;
  let isAsking = false;

  async function ask(): Promise<Health> {
    try {
      await withDeadline(timeoutMs, ping);
      return { ok: true };
    } catch (error) {
      return { ok: false, reason: error instanceof EvenkeelError ? error.code : "internal" };
    } finally {
      isAsking = false;
    }
  }

  return () => {
    if (answer === undefined || (!isAsking && clock.now() - askedAtMs >= keptMs)) {
      isAsking = true;
      askedAtMs = clock.now();
      answer = ask();
    }
    return answer;
  };
}
