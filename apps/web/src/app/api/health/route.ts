import { EvenkeelError } from "@evenkeel/core";

import { webHost } from "../../../host.ts";

export const dynamic = "force-dynamic";

/** 200 when the ledger answers and is migrated; else 503 with the reason's code and nothing more. */
export async function GET(): Promise<Response> {
  try {
    await webHost().ledger.ping();
    return Response.json({ ok: true });
  } catch (error) {
    const reason = error instanceof EvenkeelError ? error.code : "internal";
    return Response.json({ ok: false, reason }, { status: 503 });
  }
}
