/** What a step keeps free of its host's limit, in milliseconds: to settle what it ran, and to respond. */
export const stepReserveMs: number = 5_000;

/**
 * Returns the limits of what a step runs on a host that ends a request after `hostTimeoutMs` milliseconds:
 * the work is over 5 s before. `undefined`: the host has no limit, and neither has the step.
 */
export function limitsOf(hostTimeoutMs: number | undefined): { readonly deadlineMs?: number } {
  return hostTimeoutMs === undefined
    ? {}
    : { deadlineMs: Math.max(1, hostTimeoutMs - stepReserveMs) };
}
