import { expect, test } from "vitest";

import { HandshakeResend } from "./resend.ts";

test("a handshake that does not come back is sent again after 15 s, and then in pauses that double up to ten minutes", async () => {
  let isFailing = false;
  let look = 0;
  const sentAt: number[] = [];
  const resend = new HandshakeResend(
    () => isFailing,
    async () => void sentAt.push(look),
  );
  await resend.look();
  expect(sentAt).toEqual([]);
  isFailing = true;
  for (look = 1; look <= 130; look += 1) await resend.look();
  expect(sentAt).toEqual([1, 2, 4, 8, 16, 32, 40, 80, 120]);
  isFailing = false;
  await resend.look();
  isFailing = true;
  sentAt.length = 0;
  for (look = 1; look <= 3; look += 1) await resend.look();
  expect(sentAt).toEqual([1, 2]);
});
