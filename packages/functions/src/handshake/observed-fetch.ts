import type { Observations } from "./observations.ts";

/**
 * A fetch for the SDK that takes note of what becomes of its sends, and of the time in Inngest's answers. It changes no
 * request and no answer.
 */
export function observeFetch(target: typeof fetch, observations: Observations): typeof fetch {
  return async (input, init) => {
    const isSend = isEventPath(input);
    try {
      const response = await target(input, init);
      observations.noteServerDate(response.headers.get("date"));
      if (isSend) {
        const { status } = response;
        // Any other status speaks of the events, not of the way.
        if (response.ok) observations.noteSend(undefined);
        else if (status >= 500)
          observations.noteSend({ reason: "unreachable", code: `HTTP ${status}` });
        else if (keyRefusals.has(status))
          observations.noteSend({ reason: "refused", code: String(status) });
      }
      return response;
    } catch (error) {
      if (isSend) observations.noteSend({ reason: "unreachable", code: codeOf(error) });
      throw error;
    }
  };
}

const keyRefusals: ReadonlySet<number> = new Set([401, 403, 404]);

function isEventPath(input: Parameters<typeof fetch>[0]): boolean {
  const text = input instanceof Request ? input.url : String(input);
  return URL.canParse(text) && /^\/e\/[^/]*$/u.test(new URL(text).pathname);
}

/** A code names what went wrong; a message would hold the address. */
function codeOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]);
  if (!(error instanceof Error)) return "unknown";
  if ("code" in error && typeof error.code === "string") return error.code;
  return error.cause === undefined ? error.name : codeOf(error.cause);
}
