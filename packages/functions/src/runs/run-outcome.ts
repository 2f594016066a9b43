/** What a function returns when another run holds its window: it did nothing. */
export interface SkippedDuplicate {
  readonly outcome: "skipped_duplicate";
  /** The run that holds the window. */
  readonly duplicateOf: string;
}

/** The result of a run that another run made superfluous. */
export function skippedDuplicate(duplicateOf: string): SkippedDuplicate {
  return { outcome: "skipped_duplicate", duplicateOf };
}

/** Whether a function's output is a {@link SkippedDuplicate}. */
export function isSkippedDuplicate(output: unknown): output is SkippedDuplicate {
  return (
    typeof output === "object" &&
    output !== null &&
    "outcome" in output &&
    output.outcome === "skipped_duplicate" &&
    "duplicateOf" in output &&
    typeof output.duplicateOf === "string"
  );
}
