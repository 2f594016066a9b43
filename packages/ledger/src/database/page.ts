/** A part of a list: ask again with the last one's id as `before` for what follows. */
export interface Page {
  /** The id after which to go on; absent: from the newest. */
  readonly before?: string;
  /** 1 to 200, 50 by default. */
  readonly limit?: number;
}

/** A page's limit within its bounds. */
export function pageLimit(limit = 50): number {
  return Math.min(200, Math.max(1, Math.trunc(limit)));
}
