/** Headers of every response: what the SDK takes for a development server. */
const serverHeaders = {
  "content-type": "application/json",
  "x-inngest-server-kind": "dev",
} as const;

/** Returns a value as a JSON response. */
export function respondJson(value: unknown, status = 200): Response {
  return new Response(JSON.stringify(value), { status, headers: serverHeaders });
}

/** Returns a response of the runs API: the value under `data`, with the time it was read. */
export function respondData(data: unknown, nowMs: number): Response {
  return respondJson({ data, metadata: { fetched_at: new Date(nowMs).toISOString() } });
}

/** Returns an error response of the runs API. */
export function respondError(status: number, error: string, data: unknown = null): Response {
  return respondJson({ error, data, status }, status);
}
