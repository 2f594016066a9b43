import type { RunSummary } from "../engine-view.ts";
import type { Engine } from "../engine.ts";
import { type Act, performActs } from "./random-acts.ts";
import { createSdkApp } from "./sdk-app.ts";

/** What befalls a call or an event: the next `times` of them. */
export type Fault = {
  readonly kind: "drop" | "delay" | "twice" | "duplicate" | "reorder";
  readonly times: number;
};

/** What befalls the server at a moment, in seconds from the beginning. */
export type Mishap =
  | { readonly kind: "restart"; readonly atSeconds: number }
  | { readonly kind: "refuse"; readonly atSeconds: number; readonly forSeconds: number };

/** A random function, who calls it when, and what goes wrong on the way. */
export interface Play {
  readonly seed: number;
  readonly acts: readonly Act[];
  readonly faults: readonly Fault[];
  readonly mishaps: readonly Mishap[];
  /** When each event is sent for the first time, in seconds from the beginning. */
  readonly sends: readonly number[];
  /** Whether the sender sends all events again when the server has lost its memory. */
  readonly isSentAgain: boolean;
  readonly concurrency: number;
  readonly checkpointing: boolean;
}

/** What came of a {@link Play}. */
export interface Outcome {
  readonly runs: readonly RunSummary[];
  /** The ids of the events that the server has taken in since it last lost its memory. */
  readonly known: ReadonlySet<string>;
  /** The ids of all events that were ever taken in. */
  readonly accepted: ReadonlySet<string>;
  /** Runs and events that outlived a restart. */
  readonly leftOver: number;
  /** Sends whose response was not the one to expect at their time. */
  readonly wrongResponses: readonly string[];
  /** Results that came out of the engine's memory, per run and step. */
  readonly remembered: ReadonlyMap<string, ReadonlySet<number>>;
  readonly journal: string;
}

const retryMs = 10_000;

function inject(engine: Engine, { kind, times }: Fault): void {
  switch (kind) {
    case "drop":
      engine.faults.dropResponses({ times });
      break;
    case "delay":
      engine.faults.delayCalls({ by: "20s", times });
      break;
    case "twice":
      engine.faults.callTwice({ times });
      break;
    case "duplicate":
      engine.faults.duplicateEvents({ times });
      break;
    case "reorder":
      engine.faults.reorderEvents({ within: "30s", times });
      break;
  }
}

/** Plays to the end: all is sent, and nothing is under way any more. */
export async function playOut(play: Play): Promise<Outcome> {
  const remembered = new Map<string, Set<number>>();
  const script: { atMs: number; run: () => Promise<void> }[] = [];
  const known = new Set<string>();
  const accepted = new Set<string>();
  const wrongResponses: string[] = [];
  let refusedUntilMs = 0;
  let leftOver = 0;

  async function restart(): Promise<void> {
    known.clear();
    await engine.faults.restart();
    leftOver += engine.runs().length + engine.events().length;
    if (!play.isSentAgain) return;
    const atMs = engine.now() + 1_000;
    for (const id of accepted) script.push({ atMs, run: () => send(id) });
  }

  /** Sends as an outbox does: until the server has taken the event in. */
  async function send(id: string): Promise<void> {
    const nowMs = engine.now();
    const body = JSON.stringify({ name: "go", id });
    const response = await engine.fetch(`${engine.url}/e/key`, { method: "POST", body });
    const expected = nowMs < refusedUntilMs ? 503 : 200;
    if (response.status !== expected) wrongResponses.push(`${id}: ${response.status} at ${nowMs}`);
    if (response.ok) {
      known.add(id);
      accepted.add(id);
    } else script.push({ atMs: nowMs + retryMs, run: () => send(id) });
  }

  async function befall(mishap: Mishap): Promise<void> {
    if (mishap.kind === "restart") return restart();
    refusedUntilMs = engine.now() + mishap.forSeconds * 1_000;
    engine.faults.refuseEvents({ for: mishap.forSeconds * 1_000 });
  }

  const { engine } = createSdkApp(
    (inngest) => performActs(inngest, { ...play, remembered, restart }),
    { seed: play.seed, checkpointing: play.checkpointing },
  );
  const beganMs = engine.now();
  for (const fault of play.faults) inject(engine, fault);
  for (const mishap of play.mishaps) {
    script.push({ atMs: beganMs + mishap.atSeconds * 1_000, run: () => befall(mishap) });
  }
  for (const [index, atSeconds] of play.sends.entries()) {
    script.push({ atMs: beganMs + atSeconds * 1_000, run: () => send(`go ${index}`) });
  }
  do {
    script.sort((a, b) => a.atMs - b.atMs);
    const next = script.shift();
    if (next !== undefined) await engine.advanceTo(next.atMs);
    await next?.run();
    if (script.length === 0) await engine.advance("2d");
  } while (script.length > 0);
  const runs = engine.runs();
  const journal = JSON.stringify(engine.journal());
  await engine.close();
  return { runs, known, accepted, leftOver, wrongResponses, remembered, journal };
}
