import { redactValue } from "@evenkeel/core";

/** Returns a JSON response that no cache between here and the caller keeps. Its texts are redacted. */
export function jsonResponse(
  status: number,
  body: object,
  headers: Record<string, string> = {},
): Response {
  return Response.json(redactValue(body), {
    status,
    headers: { "cache-control": "no-store", ...headers },
  });
}

/** Returns the last segment of a request's path, as it was sent; `undefined` for the root. */
export function lastSegment(request: Request): string | undefined {
  return new URL(request.url).pathname.split("/").findLast((segment) => segment !== "");
}
