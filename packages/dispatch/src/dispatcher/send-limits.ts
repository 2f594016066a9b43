/**
 * Runs a task that ends with either of two signals, and waits no longer than the first, also when the task ignores it.
 *
 * @param outer The caller's; `undefined`: there is none.
 * @param own Of a time-out that is kept already.
 * @throws The outer signal's reason, or what the task throws.
 */
export async function withSignal<Value>(
  outer: AbortSignal | undefined,
  own: AbortSignal,
  task: (either: AbortSignal) => Promise<Value>,
): Promise<Value> {
  if (outer === undefined) return task(own);
  outer.throwIfAborted();
  const ended = Promise.withResolvers<never>();
  const onAbort = (): void => ended.reject(outer.reason);
  outer.addEventListener("abort", onAbort);
  try {
    return await Promise.race([task(AbortSignal.any([outer, own])), ended.promise]);
  } finally {
    outer.removeEventListener("abort", onAbort);
  }
}
