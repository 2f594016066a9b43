import { appendFileSync } from "node:fs";
import { readFile } from "node:fs/promises";

import type { JobClaim } from "@evenkeel/ledger";

/*
 * A file outside the queue in which workers note each start, before anything that a kill can fall upon: a line is
 * written when the call that writes it returns, and what comes after a SIGKILL is not.
 */

/** What a worker notes: it is about to ask the ledger for a job's start, or the job's handler runs. */
type Note = "asked" | "ran";

/** Notes something about a claimed job. */
export function noteStart(file: string, note: Note, { id, fence }: JobClaim): void {
  appendFileSync(file, `${note} ${id} ${fence}\n`);
}

/** The claims that each kind of note was made of, as `<job> <fence>`: as often as it was made. */
export type StartNotes = Readonly<Record<Note, readonly string[]>>;

/** Reads what all workers noted. */
export async function readStartNotes(file: string): Promise<StartNotes> {
  const lines = (await readFile(file, "utf8")).split("\n");
  const of = (note: Note): string[] =>
    lines.flatMap((line) => (line.startsWith(`${note} `) ? [line.slice(note.length + 1)] : []));
  return { asked: of("asked"), ran: of("ran") };
}
