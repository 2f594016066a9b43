/** A part of a list: ask again with the last one's id as `before` for what follows. */
export interface Page {
  /** The id of the last one seen; what follows it is returned. Absent: from the newest. */
  readonly before?: string;
  /** Most rows returned, 1 to 200; a number outside is moved to the nearest. Defaults to 50. */
  readonly limit?: number;
}

/** Returns a page's limit within its bounds. */
export function pageLimit(limit = 50): number {
  return Math.min(200, Math.max(1, Math.trunc(limit)));
}

/** Returns whether a text is a UUID, as the ids of most records are. */
export function isUuid(id: string): boolean {
  return /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/iu.test(id);
}
