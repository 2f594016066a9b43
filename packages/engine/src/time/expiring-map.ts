/** A map whose entries are forgotten a fixed time after they were set; the oldest go first. */
export interface ExpiringMap<Value> {
  get(key: string, nowMs: number): Value | undefined;
  /** Sets a value; setting again starts its life anew. */
  set(key: string, value: Value, nowMs: number): void;
  delete(key: string): void;
  clear(): void;
  readonly size: number;
}

/** Creates an {@link ExpiringMap} whose entries live for `lifeMs`. */
export function createExpiringMap<Value>(lifeMs: number): ExpiringMap<Value> {
  const entries = new Map<string, { value: Value; untilMs: number }>();
  function prune(nowMs: number): void {
    for (const [key, entry] of entries) {
      if (entry.untilMs > nowMs) return;
      entries.delete(key);
    }
  }
  return {
    get(key, nowMs) {
      const entry = entries.get(key);
      return entry !== undefined && entry.untilMs > nowMs ? entry.value : undefined;
    },
    set(key, value, nowMs) {
      prune(nowMs);
      entries.delete(key);
      entries.set(key, { value, untilMs: nowMs + lifeMs });
    },
    delete: (key) => void entries.delete(key),
    clear: () => entries.clear(),
    get size() {
      return entries.size;
    },
  };
}
