import { silentLogger, type Logger } from "@evenkeel/core";
import type { WindowReceipt } from "@evenkeel/ledger";
import { expect, test } from "vitest";

import { authenticate } from "./cron-authentication.ts";
import { createReceiptHandler } from "./receipt-handler.ts";

const lines: unknown[] = [];
const logger: Logger = {
  ...silentLogger,
  warn: (event, fields) => void lines.push([event, fields]),
  error: (event, fields) => void lines.push([event, fields]),
};

function ask(authorization?: string): Request {
  const headers = authorization === undefined ? {} : { authorization };
  return new Request("http://127.0.0.1/api/cron/receipts/key", { headers });
}

/** A ledger that knows no window, and counts who asks. */
function ledgerThat(receipt: () => Promise<WindowReceipt | undefined>) {
  const asked: string[] = [];
  return {
    asked,
    receipt: (key: string) => {
      asked.push(key);
      return receipt();
    },
  };
}

test("without secrets of their own receipts are closed, whoever asks, and the log says what opens them", async () => {
  const ledger = ledgerThat(() => Promise.resolve(undefined));
  let at = 0;
  const clock = { now: () => new Date(at) };
  lines.length = 0;
  const handler = createReceiptHandler({ ledger, receiptsSecrets: [], clock, logger });
  for (const authorization of [undefined, "Bearer ", "Bearer undefined", "Bearer cron"]) {
    const response = await handler(ask(authorization));
    expect([response.status, await response.json()]).toEqual([503, { error: "not_configured" }]);
  }
  expect(ledger.asked).toEqual([]);
  expect(lines).toEqual([["receipt.not_configured", { missing: "RECEIPTS_SECRET" }]]);
  at = 60_000;
  await handler(ask());
  expect(lines).toHaveLength(2);
});

test("the current and the previous secret read; another is refused before the ledger is asked", async () => {
  const ledger = ledgerThat(() => Promise.resolve(undefined));
  const handler = createReceiptHandler({ ledger, receiptsSecrets: ["new", "old"], logger });
  expect((await handler(ask("Bearer new"))).status).toBe(404);
  expect((await handler(ask("Bearer old"))).status).toBe(404);
  const refused = await handler(ask("Bearer cron"));
  expect(refused.status).toBe(401);
  expect(refused.headers.get("www-authenticate")).toBe("Bearer");
  expect(ledger.asked).toEqual(["key", "key"]);
});

test("a ledger that fails is told in the log without its password, and not to the reader", async () => {
  const ledger = ledgerThat(() =>
    Promise.reject(new Error("no route to postgres://shop:hunter2@db/shop")),
  );
  lines.length = 0;
  const handler = createReceiptHandler({ ledger, receiptsSecrets: ["new"], logger });
  const response = await handler(ask("Bearer new"));
  expect([response.status, await response.json()]).toEqual([503, { error: "ledger_unavailable" }]);
  expect(lines).toEqual([
    ["receipt.failed", { error: "no route to postgres://[redacted]@db/shop" }],
  ]);
});

test("a secret that is an empty text opens nothing", () => {
  for (const authorization of [null, "", "Bearer", "Bearer ", "Bearer  "]) {
    expect(authenticate(authorization, [""])).toBe("closed");
    expect(authenticate(authorization, ["", "secret"])).toBe("refused");
  }
});
