/** A call to an app hung while virtual time was to move. */
export class EngineStalledError extends Error {
  override readonly name = "EngineStalledError";
  constructor(
    calls: readonly { readonly runId: string; readonly function: string }[],
    stallMs: number,
  ) {
    const names = calls.map((call) => `${call.function} (run ${call.runId})`).join(", ");
    super(
      `Virtual time cannot move: no response for ${stallMs} ms from ${names}. If a step waits for another run, raise maxCalls; if it is slow, raise stallMs.`,
    );
  }
}

/** A function that no synced app has. */
export class UnknownFunctionError extends Error {
  override readonly name = "UnknownFunctionError";
  constructor(id: string, known: readonly string[]) {
    super(
      `No synced app has the function ${JSON.stringify(id)}; known are: ${known.join(", ") || "none"}.`,
    );
  }
}
