import type { Scope } from "../database/tenant-scope.ts";
import { readReceipt, type WindowReceipt } from "./receipt.ts";
import type { WindowRecord } from "./window.ts";

/** A tenant's window as the tenant sees it: without the host that claimed it, and why that host could not send. */
export type TenantWindowRecord = Omit<WindowRecord, "owner" | "lastError">;

/** What became of a tenant's window. */
export interface TenantReceipt extends Omit<WindowReceipt, "window"> {
  readonly window: TenantWindowRecord;
}

/** Returns what became of a window; `undefined` when the tenant has none of this key. */
export async function readTenantReceipt(
  scope: Scope,
  dispatchKey: string,
): Promise<TenantReceipt | undefined> {
  const receipt = await readReceipt(scope, dispatchKey);
  if (receipt === undefined) return undefined;
  const { owner: _owner, lastError: _lastError, ...window } = receipt.window;
  return { ...receipt, window };
}
