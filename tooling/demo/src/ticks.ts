import { Agent, request } from "node:http";

/** What became of the ticks of one window. */
export interface WindowLog {
  readonly scheduledAt: Date;
  /** Receipts `dispatch-only`. */
  dispatched: number;
  suppressed: number;
  /** Responses of 200 with nothing to do. */
  idle: number;
  /** Responses of 503. */
  failed: number;
  /** Anything else. */
  unexpected: string[];
}

/** Counts over all ticks. */
export interface TickCounts {
  readonly sent: number;
  readonly dispatched: number;
  readonly suppressed: number;
  readonly idle: number;
  readonly failed: number;
}

const clientsPerTick = 3;
const retryMs = 1_500;

/**
 * The cron service: every few seconds it comes to the next window and asks for it three times at once, each
 * time as another client on a connection of its own. A window whose ticks all failed is asked for again,
 * as cron services with retries do. Every third window comes late, after its successor.
 */
export class CronService {
  readonly windows: WindowLog[] = [];
  readonly #url: string;
  readonly #secret: string;
  readonly windowSeconds: number;
  readonly #firstWindowMs: number;
  #next = 0;
  #late: WindowLog | undefined;
  #open = 0;

  constructor(options: {
    readonly url: string;
    readonly secret: string;
    readonly windowSeconds: number;
    /** The first window's start; the windows lie in the past, so that they can pass quickly. */
    readonly firstWindow: Date;
  }) {
    this.#url = options.url;
    this.#secret = options.secret;
    this.windowSeconds = options.windowSeconds;
    this.#firstWindowMs = options.firstWindow.getTime();
  }

  /** The start of the window that comes next: the end of the newest. */
  get now(): Date {
    return new Date(this.#firstWindowMs + this.#next * this.windowSeconds * 1_000);
  }

  /** Windows that are not dispatched yet. */
  get open(): number {
    return this.#open + (this.#late === undefined ? 0 : 1);
  }

  get counts(): TickCounts {
    const sum = (read: (window: WindowLog) => number): number =>
      this.windows.reduce((total, window) => total + read(window), 0);
    const dispatched = sum((window) => window.dispatched);
    const suppressed = sum((window) => window.suppressed);
    const idle = sum((window) => window.idle);
    const failed = sum((window) => window.failed);
    const unexpected = sum((window) => window.unexpected.length);
    const sent = dispatched + suppressed + idle + failed + unexpected;
    return { sent, dispatched, suppressed, idle, failed };
  }

  /** Windows whose every tick found nothing to do: none of them is on record. */
  get idleWindows(): number {
    return this.windows.filter(
      ({ idle, dispatched, suppressed }) => idle > 0 && dispatched + suppressed === 0,
    ).length;
  }

  /** Comes to the next window. */
  tick(): void {
    const index = this.#next;
    this.#next += 1;
    const startMs = this.#firstWindowMs + index * this.windowSeconds * 1_000;
    const window: WindowLog = {
      scheduledAt: new Date(startMs + 1_000),
      dispatched: 0,
      suppressed: 0,
      idle: 0,
      failed: 0,
      unexpected: [],
    };
    this.windows.push(window);
    const late = this.#late;
    this.#late = index % 3 === 2 && late === undefined ? window : undefined;
    if (this.#late === undefined) void this.#dispatch(window);
    if (late !== undefined) void this.#dispatch(late);
  }

  /** Sends what was held back. */
  flush(): void {
    const late = this.#late;
    this.#late = undefined;
    if (late !== undefined) void this.#dispatch(late);
  }

  async #dispatch(window: WindowLog): Promise<void> {
    this.#open += 1;
    for (let round = 1; ; round += 1) {
      const failedBefore = window.failed + window.unexpected.length;
      const clients = Array.from({ length: clientsPerTick }, (_, client) => `client-${client + 1}`);
      await Promise.all(clients.map((client) => this.#ask(window, `${client}-round-${round}`)));
      // Every response a duplicate: the reconciler was faster than this retry.
      const hasFailed = window.failed + window.unexpected.length > failedBefore;
      if (window.dispatched > 0 || !hasFailed) break;
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
    this.#open -= 1;
  }

  async #ask(window: WindowLog, client: string): Promise<void> {
    const { status, body } = await this.#get(window.scheduledAt, client);
    if (status === 202) window.dispatched += 1;
    else if (status === 503) window.failed += 1;
    else if (status === 200 && body.includes("dispatch-duplicate-suppressed"))
      window.suppressed += 1;
    else if (status === 200 && body.includes('"mode":"idle"')) window.idle += 1;
    else window.unexpected.push(`${status} ${body.slice(0, 200)}`);
  }

  #get(scheduledAt: Date, client: string): Promise<{ status: number; body: string }> {
    return new Promise((resolve) => {
      const call = request(
        this.#url,
        {
          agent: new Agent({ keepAlive: false }),
          headers: {
            authorization: `Bearer ${this.#secret}`,
            "x-evenkeel-scheduled-at": scheduledAt.toISOString(),
            "x-correlation-id": `${scheduledAt.getTime()}-${client}`,
          },
        },
        (response) => {
          const parts: Buffer[] = [];
          response.on("data", (part: Buffer) => parts.push(part));
          response.on("end", () =>
            resolve({
              status: response.statusCode ?? 0,
              body: Buffer.concat(parts).toString("utf8"),
            }),
          );
        },
      );
      call.on("error", (error) => resolve({ status: 0, body: error.message }));
      call.end();
    });
  }
}
