import type { AppRegistry } from "../app/app-registry.ts";
import { memoizedSteps } from "../call/call-request.ts";
import { CheckpointRefusedError, type CheckpointReport, acceptCheckpoint } from "../checkpoint.ts";
import type { EventLog } from "../event/event-log.ts";
import type { Executor } from "../executor.ts";
import type { Journal } from "../journal.ts";
import { isObject, parseJson, textOf } from "../json.ts";
import type { Finalizer } from "../run/finalizer.ts";
import type { RunStore } from "../run/run-store.ts";
import type { DecisionLog } from "../schedule/decision-log.ts";
import type { WaitResolver } from "../step/wait-resolver.ts";
import { respondData, respondError, respondJson } from "./json-response.ts";
import { viewEvent, viewRun } from "./run-view.ts";

/** What the runs API reads and does. */
export interface RunsApiDeps {
  readonly apps: AppRegistry;
  readonly log: EventLog;
  readonly decisions: DecisionLog;
  readonly runs: RunStore;
  readonly executor: Executor;
  readonly finalizer: Finalizer;
  readonly waitResolver: WaitResolver;
  readonly journal: Journal;
  readonly now: () => number;
}

const ulid = /^[0-9A-HJKMNP-TV-Z]{26}$/i;

/** Serves `GET /v1/events`: the newest first. */
export function listEvents(query: URLSearchParams, deps: RunsApiDeps): Response {
  const limit = Math.min(Math.max(Number(query.get("limit") ?? "20") || 20, 1), 100);
  const name = query.get("name");
  const found = deps.log
    .all()
    .toReversed()
    .filter((stored) => name === null || stored.event.name === name)
    .slice(0, limit);
  return respondData(found.map(viewEvent), deps.now());
}

/** Serves `GET /v1/events/:id`; an unknown event is null, as on the real server. */
export function showEvent(id: string, deps: RunsApiDeps): Response {
  if (!ulid.test(id)) return respondError(400, `Invalid event ID: ${id}`);
  const stored = deps.log.find(id.toUpperCase());
  return respondData(stored === undefined ? null : viewEvent(stored), deps.now());
}

/** Serves `GET /v1/events/:id/runs`. */
export function listEventRuns(id: string, deps: RunsApiDeps): Response {
  if (!ulid.test(id)) return respondError(400, `Invalid event ID: ${id}`);
  return respondData(deps.decisions.runsOf(id.toUpperCase()).map(viewRun), deps.now());
}

/** Serves `GET /v1/runs/:id`. */
export function showRun(id: string, deps: RunsApiDeps): Response {
  if (!ulid.test(id)) return respondError(400, `Invalid run ID: ${id}`);
  const run = deps.runs.find(id.toUpperCase());
  return run === undefined
    ? respondError(500, `Unable to load function run: ${id}`)
    : respondData(viewRun(run), deps.now());
}

/** Serves `DELETE /v1/runs/:id`: cancels the run. */
export function cancelRun(id: string, deps: RunsApiDeps): Response {
  if (!ulid.test(id)) return respondError(400, `Invalid run ID: ${id}`);
  const run = deps.runs.find(id.toUpperCase());
  if (run === undefined) return respondError(404, `Unable to load function run: ${id}`);
  deps.finalizer.finalize(run, { status: "Cancelled", reason: "cancelled through the API" });
  return new Response(null, { status: 200 });
}

/** Serves `GET /v0/runs/:id/actions`: the memoised steps of a run whose state is large. */
export function listSteps(id: string, deps: RunsApiDeps): Response {
  const run = deps.runs.find(id);
  return run === undefined ? respondError(404, "run not found") : respondJson(memoizedSteps(run));
}

/** Serves `GET /v0/runs/:id/batch`: the events of a run. */
export function listBatch(id: string, deps: RunsApiDeps): Response {
  const run = deps.runs.find(id);
  if (run === undefined) return respondError(404, "run not found");
  return respondJson(run.events.map((stored) => stored.event));
}

/** Serves `POST /v1/checkpoint/:id/async`: takes in steps that ran within a request. */
export function checkpoint(id: string, text: string, deps: RunsApiDeps): Response {
  const body = parseJson(text);
  if (!isObject(body) || !Array.isArray(body["steps"])) {
    return respondError(400, "invalid request body");
  }
  const generation = body["generation_id"];
  const report: CheckpointReport = {
    runId: id,
    queueItem: textOf(body["qi_id"]) ?? "",
    generation: typeof generation === "number" && generation > 0 ? generation : undefined,
    steps: body["steps"],
  };
  try {
    acceptCheckpoint(report, deps);
    return new Response(null, { status: 200, headers: { "x-inngest-server-kind": "dev" } });
  } catch (error) {
    if (!(error instanceof CheckpointRefusedError)) throw error;
    return respondError(error.status, error.message, { run_id: id });
  }
}

/** Serves `POST /v1/signals`. */
export function receiveSignal(text: string, deps: RunsApiDeps): Response {
  const body = parseJson(text);
  if (!isObject(body)) return respondError(400, "Invalid signal data");
  const signal = typeof body["signal"] === "string" ? body["signal"] : "";
  if (signal === "") return respondError(500, "Failed to receive signal");
  const run = deps.waitResolver.onSignal(signal, body["data"] ?? null);
  return run === undefined
    ? respondError(404, "No signal found")
    : respondData({ run_id: run.id }, deps.now());
}

/** Serves `GET /v1/apps/:app/functions`. */
export function listFunctions(appName: string, deps: RunsApiDeps): Response {
  const app = deps.apps.apps().find((candidate) => candidate.name === appName);
  if (app === undefined) return respondError(404, "App not found");
  return respondData(
    app.functions.map((fn) => fn.source),
    deps.now(),
  );
}
