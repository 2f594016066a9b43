import { readFile } from "node:fs/promises";

/** A change of status as a picture writes it. */
export type Arrow<Status extends string> = `${Status} --> ${Status}`;

/** A state machine as its picture needs it. */
export interface Lifecycle<Status extends string> {
  /** The picture's title. */
  readonly title: string;
  /** The statuses in which a row begins, each with what puts it there. */
  readonly begins: Readonly<Partial<Record<Status, string>>>;
  /** Which status may follow which: every arrow of the picture, in this order. */
  readonly transitions: Readonly<Record<Status, readonly Status[]>>;
  /** What brings a change about. An arrow without a label is drawn bare. */
  readonly labels?: Readonly<Partial<Record<Arrow<Status>, string>>>;
}

/**
 * Draws a transition table as a fenced mermaid `stateDiagram`, one arrow per entry of the table.
 *
 * @throws Error for a label whose change is not in the table.
 *
 * @example
 * const begins = { PENDING: "enqueue" };
 * const labels = { "PENDING --> RUNNING": "claim" };
 * expect(await lifecycleInReadme("job")).toBe(
 *   drawLifecycle({ title: "Job", begins, transitions: jobTransitions, labels }),
 * );
 */
export function drawLifecycle<Status extends string>(lifecycle: Lifecycle<Status>): string {
  const labels = new Map<string, unknown>(Object.entries(lifecycle.labels ?? {}));
  const begins = Object.entries(lifecycle.begins).map(([status, label]) =>
    draw(`[*] --> ${status}`, label),
  );
  const changes = Object.entries<readonly Status[]>(lifecycle.transitions).flatMap(
    ([status, followers]) =>
      followers.map((follower) => {
        const arrow = `${status} --> ${follower}`;
        const label = labels.get(arrow);
        labels.delete(arrow);
        return draw(arrow, label);
      }),
  );
  if (labels.size > 0) {
    throw new Error(
      `The table of "${lifecycle.title}" has no ${[...labels.keys()].join(", ")}. Correct the label or the table.`,
    );
  }
  const title = ["---", `title: ${lifecycle.title}`, "---"];
  return ["```mermaid", ...title, "stateDiagram-v2", ...begins, ...changes, "```"].join("\n");
}

function draw(arrow: string, label: unknown): string {
  return typeof label === "string" ? `  ${arrow}: ${label}` : `  ${arrow}`;
}

/**
 * Returns what this package's README shows between `<!-- lifecycle:name -->` and `<!-- /lifecycle -->`.
 *
 * @throws Error where the README has no such block.
 */
export async function lifecycleInReadme(name: string): Promise<string> {
  const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
  const [, block] = readme.split(`<!-- lifecycle:${name} -->`);
  const [picture, rest] = block?.split("<!-- /lifecycle -->") ?? [];
  if (picture === undefined || rest === undefined) {
    throw new Error(`README.md has no block <!-- lifecycle:${name} --> … <!-- /lifecycle -->.`);
  }
  return picture.trim();
}
