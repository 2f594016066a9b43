import { type Json, isObject, parseJson, textOf } from "../json.ts";
import type { ExplainArguments, FaultArguments } from "./arguments.ts";

/** An engine that could not be asked, or that refused. */
export class RemoteError extends Error {
  override readonly name = "RemoteError";
}

async function ask(url: string, init: RequestInit): Promise<Json> {
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (cause) {
    throw new RemoteError(`no engine answers at ${new URL(url).origin}; name one with --engine.`, {
      cause,
    });
  }
  const body = parseJson(await response.text()) ?? null;
  if (response.ok) return body;
  const reason = isObject(body) ? textOf(body["error"]) : undefined;
  throw new RemoteError(reason ?? `the engine answered HTTP ${response.status}`);
}

/** Injects a fault into a running engine; returns what to print. */
export async function injectFault(options: FaultArguments): Promise<string> {
  await ask(`${options.engineUrl.replace(/\/$/, "")}/dev/faults`, {
    method: "POST",
    body: JSON.stringify(options.request),
  });
  return `injected ${options.request["fault"]}\n`;
}

/** Asks a running engine why each function ran or did not for an event; returns what to print. */
export async function explainEvent(options: ExplainArguments): Promise<string> {
  const path = `/dev/explain/${encodeURIComponent(options.eventId)}`;
  const found = await ask(`${options.engineUrl.replace(/\/$/, "")}${path}`, { method: "GET" });
  const lines: string[] = [];
  for (const each of Array.isArray(found) ? found : []) {
    if (!isObject(each) || !isObject(each["event"]) || !Array.isArray(each["decisions"])) continue;
    const { name, internalId } = each["event"];
    lines.push(`event ${textOf(name) ?? ""} ${textOf(internalId) ?? ""}`);
    for (const decision of each["decisions"]) {
      if (!isObject(decision)) continue;
      const { function: fn, outcome, reason } = decision;
      lines.push(`  ${textOf(fn) ?? ""}: ${textOf(outcome) ?? ""}, ${textOf(reason) ?? ""}`);
    }
  }
  return lines.length === 0 ? "the engine knows no such event\n" : `${lines.join("\n")}\n`;
}
