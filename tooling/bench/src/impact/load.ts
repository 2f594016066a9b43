import { Agent, get } from "node:http";

/** What clients of a route saw. */
export interface LoadResult {
  /** Milliseconds from when a request was due, not from when it could be sent; time-outs at the time-out. */
  readonly latencies: readonly number[];
  readonly timeouts: number;
  readonly errors: number;
}

const ratePerSecond = 50;
/** What a client waits for, in milliseconds. */
const clientTimeoutMs = 2_000;

/** Asks a route at a fixed rate, whether or not answers come, until it is stopped. */
export function startLoad(url: string): { stop(): Promise<LoadResult> } {
  const agent = new Agent({ keepAlive: true, maxSockets: 500 });
  const latencies: number[] = [];
  const open = new Set<Promise<void>>();
  let [timeouts, errors, sent] = [0, 0, 0];
  const startedAtMs = performance.now();
  const ask = (dueMs: number): Promise<void> =>
    new Promise((resolve) => {
      const path = `${url}?id=${1 + (sent % 1_000)}`;
      let isLate = false;
      const request = get(path, { agent }, (response) => {
        response.resume();
        response.on("end", () => {
          if (response.statusCode !== 200) errors += 1;
          end();
        });
      });
      const timer = setTimeout(
        () => {
          isLate = true;
          timeouts += 1;
          request.destroy();
        },
        Math.max(0, clientTimeoutMs - (performance.now() - dueMs)),
      );
      const end = (): void => {
        clearTimeout(timer);
        latencies.push(isLate ? clientTimeoutMs : performance.now() - dueMs);
        resolve();
      };
      request.on("error", () => {
        if (!isLate) errors += 1;
        end();
      });
    });
  const timer = setInterval(() => {
    for (;;) {
      const dueMs = startedAtMs + (sent * 1_000) / ratePerSecond;
      if (dueMs > performance.now()) break;
      sent += 1;
      const answer = ask(dueMs).finally(() => open.delete(answer));
      open.add(answer);
    }
  }, 2);
  return {
    stop: async () => {
      clearInterval(timer);
      await Promise.all(open);
      agent.destroy();
      return { latencies, timeouts, errors };
    },
  };
}
