import { EvenkeelError } from "@evenkeel/core";

import { background } from "../../../background.ts";

export const dynamic = "force-dynamic";

/** 200 when the ledger responds and is migrated; else 503 with the reason's code and nothing more. */
export async function GET(): Promise<Response> {
  try {
    await background.parts().ledger.ping();
    return Response.json({ ok: true });
  } catch (error) {
    const reason = error instanceof EvenkeelError ? error.code : "internal";
    return Response.json({ ok: false, reason }, { status: 503 });
  }
}
