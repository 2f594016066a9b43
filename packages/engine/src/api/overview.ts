import { respondJson } from "./json-response.ts";

/** What there is to call, for who opens the engine's address. */
const calls: readonly (readonly [call: string, what: string])[] = [
  ["POST /e/<event key>", "sends events"],
  ["POST /invoke/<function>", "starts a function"],
  ["GET /v1/events", "the newest events"],
  ["GET /v1/events/<event>/runs", "the runs that an event started"],
  ["GET /v1/runs/<run>", "a run and what it returned"],
  ["DELETE /v1/runs/<run>", "cancels a run"],
  ["POST /v1/cancellations", "cancels the runs of a function"],
  ["POST /v1/signals", "wakes the run that waits for a signal"],
  ["GET /v1/apps/<app>/functions", "an app's functions"],
  ["GET /dev", "apps and functions"],
  ["GET /dev/explain/<event>", "why each function ran or did not"],
  ["POST /dev/faults", "injects a fault"],
  ["GET /health", "whether the engine is up"],
];

/** Serves `GET /`: the engine's apps, and what there is to call. A browser gets a page, others JSON. */
export function showOverview(accept: string | null, apps: readonly string[]): Response {
  const overview = {
    name: "evenkeel-engine",
    apps,
    calls: Object.fromEntries(calls),
  };
  if (accept === null || !accept.includes("text/html")) return respondJson(overview);
  const rows = calls.map(
    ([call, what]) => `<tr><td><code>${escapeHtml(call)}</code></td><td>${what}</td></tr>`,
  );
  const served = apps.length === 0 ? "none yet" : apps.map(escapeHtml).join(", ");
  const page = `<!doctype html><html lang="en"><meta charset="utf-8"><title>evenkeel-engine</title>
<body style="font-family: system-ui; margin: 2rem">
<h1>evenkeel-engine</h1><p>Apps: ${served}</p><table>${rows.join("\n")}</table></body></html>`;
  return new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } });
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
