/** Headers of every answer: what the SDK takes for a development server. */
const serverHeaders = {
  "content-type": "application/json",
  "x-inngest-server-kind": "dev",
} as const;

/** A JSON answer. */
export function answerJson(value: unknown, status = 200): Response {
  return new Response(JSON.stringify(value), { status, headers: serverHeaders });
}

/** An answer of the runs API: the value under `data`, with the time it was read. */
export function answerData(data: unknown, nowMs: number): Response {
  return answerJson({ data, metadata: { fetched_at: new Date(nowMs).toISOString() } });
}

/** A refusal of the runs API. */
export function answerError(status: number, error: string, data: unknown = null): Response {
  return answerJson({ error, data, status }, status);
}
