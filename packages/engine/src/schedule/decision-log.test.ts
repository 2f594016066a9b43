import { describe, expect, it } from "vitest";

import type { StoredEvent } from "../event/event.ts";
import { createJournal } from "../journal.ts";
import { silentLogger } from "../logger.ts";
import { createDecisionLog } from "./decision-log.ts";

function setup(kept: readonly string[] = ["one"]) {
  const journal = createJournal({ logger: silentLogger, now: () => 0, limit: 10 });
  const log = createDecisionLog({ journal, isKept: (id) => kept.includes(id) });
  return { journal, log };
}

const event = (internalId: string, ordinal = 1): StoredEvent => ({
  internalId,
  ordinal,
  receivedAtMs: 0,
  event: { id: internalId, name: "a", data: null, ts: 0, user: {} },
});

describe("decision log", () => {
  it("keeps the entry of an event that is sent again under its id", () => {
    const { log } = setup();
    log.record([event("one")], { function: "f", outcome: "started", reason: "run 1" });
    log.record([event("one", 2)], { function: "f", outcome: "duplicate event id", reason: "x" });
    expect(log.decisionsOf("one").map((each) => each.outcome)).toEqual([
      "started",
      "duplicate event id",
    ]);
  });

  it("keeps nothing of an event that the event log has dropped", () => {
    const { log } = setup([]);
    log.record([event("one")], { function: "f", outcome: "batched", reason: "waits" });
    expect(log.decisionsOf("one")).toEqual([]);
  });

  it("journals what was skipped, and not what goes its way", () => {
    const { journal, log } = setup();
    log.record([event("one")], { function: "f", outcome: "started", reason: "run 1" });
    log.record([event("one")], { function: "f", outcome: "paused", reason: "paused" });
    expect(journal.entries().map((each) => each.fields["outcome"])).toEqual(["paused"]);
  });
});
