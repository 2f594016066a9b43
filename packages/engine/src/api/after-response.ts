/** Work that waits until the response of the request that asked for it is on its way. */
export interface AfterResponse {
  /** Starts a request's list of such work; `schedule` runs it once whoever waits for the response has it. */
  begin(schedule: (work: () => void) => void): ResponseWork;
  /** Resolves when no such work is left. */
  settled(): Promise<void>;
  /** Whether such work is left. */
  isPending(): boolean;
}

/** The work of one request. */
export interface ResponseWork {
  add(work: () => void): void;
  /** Says that the response is on its way, or that there will be none. Only the first call counts. */
  sent(): void;
}

/** Creates an {@link AfterResponse}. */
export function createAfterResponse(): AfterResponse {
  let pending = 0;
  let waiting: (() => void)[] = [];

  function finish(): void {
    pending -= 1;
    if (pending > 0) return;
    const resolved = waiting;
    waiting = [];
    for (const resolve of resolved) resolve();
  }

  return {
    begin(schedule) {
      const list: (() => void)[] = [];
      let isSent = false;
      return {
        add(work) {
          if (list.length === 0) pending += 1;
          list.push(work);
        },
        sent() {
          if (isSent) return;
          isSent = true;
          if (list.length === 0) return;
          schedule(() => {
            try {
              for (const work of list) work();
            } finally {
              finish();
            }
          });
        },
      };
    },
    settled: () =>
      pending === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve)),
    isPending: () => pending > 0,
  };
}
