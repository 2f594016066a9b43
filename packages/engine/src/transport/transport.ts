/** A request from the engine to an app. */
export interface AppRequest {
  readonly method: "POST" | "PUT" | "GET";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** How long the app may take, in milliseconds. */
  readonly timeoutMs: number;
}

/** An app's response, read to its end. */
export interface AppResponse {
  readonly status: number;
  /** Case-insensitive. */
  readonly headers: Headers;
  readonly body: string;
}

/** No response, or a broken one. The message is the one a failed run shows. */
export class TransportError extends Error {
  override readonly name = "TransportError";
}

/** The port through which the engine reaches an app. */
export interface Transport {
  /** @throws TransportError when there is no response. */
  send(request: AppRequest): Promise<AppResponse>;
}

/** A fetch-style request handler, as `serve` from `inngest/edge` makes one. */
export type Handler = (request: Request) => Response | Promise<Response>;

/** The largest response that the server reads, in bytes. */
export const maxResponseBytes: number = 8 * 1024 * 1024;
