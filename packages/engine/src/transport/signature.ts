import { createHmac } from "node:crypto";

import { canonicalJson } from "../json.ts";

/** A signing key without the `signkey-<environment>-` before it: what signatures are made with. */
function bareSigningKey(signingKey: string): string {
  return signingKey.replace(/^signkey-[\w-]+?-/, "");
}

/**
 * Signs a request body as Inngest does: HMAC-SHA256 over its canonical JSON and the Unix time in
 * seconds. Returns the value of `X-Inngest-Signature`.
 */
export function signBody(body: unknown, signingKey: string, nowMs: number): string {
  const seconds = Math.floor(nowMs / 1_000).toString();
  const signature = createHmac("sha256", bareSigningKey(signingKey))
    .update(canonicalJson(body))
    .update(seconds)
    .digest("hex");
  return `t=${seconds}&s=${signature}`;
}
