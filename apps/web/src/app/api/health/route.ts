import { background } from "../../../background.ts";
import { createHealthCheck } from "../../../health.ts";

export const dynamic = "force-dynamic";

const check = createHealthCheck(async () => background.parts().ledger.ping());

/** 200 when the ledger responds and is migrated, as of five seconds ago at most; else 503 with the reason's code. */
export async function GET(): Promise<Response> {
  const health = await check();
  return Response.json(health, {
    status: health.ok ? 200 : 503,
    headers: { "cache-control": "no-store" },
  });
}
