import { describe, expect, test } from "vitest";

import {
  handshakeFaults,
  openScene,
  tick,
  waitForSuspect,
  waitUntilOk,
} from "../testing/handshake-faults.ts";
import { findRealServer, startEngine } from "../testing/handshake-servers.ts";

const realServer = findRealServer(process.env);
const servers = [
  { named: "the engine", start: startEngine, signs: true },
  ...(realServer === undefined
    ? []
    : [{ named: "a real Inngest server", start: realServer, signs: false }]),
];

test("finds a real Inngest server to compare with", (context) => {
  if (realServer === undefined) context.skip("INNGEST_CLI_BIN names none");
  expect(realServer).toBeDefined();
});

describe.each(servers)("on $named", ({ start, signs }) => {
  test("a handshake comes back, at start and with a tick, and nothing is suspected", async () => {
    const scene = await openScene(start);
    const web = scene.openWeb();
    const worker = await scene.openWorker();
    await scene.server.sync(worker.serveUrl);
    await tick(web);
    await waitUntilOk(web);
    const { lastOkAt, roundTripMs, suspects } = (await web.parts().handshake.report()) ?? {};
    expect(lastOkAt).toEqual(expect.any(String));
    expect(roundTripMs).toBeGreaterThanOrEqual(0);
    expect(suspects).toEqual([]);
    await scene.close();
  });

  const seeded = handshakeFaults.filter(({ needsSignatures = false }) => signs || !needsSignatures);
  test.each(seeded)("$cause: $name", { timeout: 180_000 }, async (fault) => {
    const scene = await openScene(start, { signed: fault.needsSignatures === true });
    const host = await fault.seed(scene);
    const [first] = await waitForSuspect(host, fault.cause);
    expect(first?.remedy).not.toBe("");
    const turns = scene.logged.filter((event) => /^handshake[.](?:ok|failing)$/u.test(event));
    expect(turns.at(-1)).toBe("handshake.failing");
    await scene.close();
  });
});
