/**
 * `after` of `next/server`, outside a request of Next: at once.
 *
 * @public The README's host imports it.
 */
export function after(work: () => Promise<unknown>): void {
  void work();
}
