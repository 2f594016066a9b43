import { lintSource } from "@secretlint/core";
import { creator } from "@secretlint/secretlint-rule-preset-recommend";
import { analyse } from "scslre";
import { expect, test } from "vitest";

import { redactText } from "./redaction.ts";
import { credentials, emailAddress } from "./secret-patterns.ts";
import { plantedSecrets } from "./testing/planted-secrets.ts";

/** What the maintained list that the repository is scanned with finds in a text. */
async function scan(content: string): Promise<string[]> {
  const id = "@secretlint/secretlint-rule-preset-recommend";
  const { messages } = await lintSource({
    source: { filePath: "text.txt", content, contentType: "text", ext: ".txt" },
    options: { config: { rules: [{ id, rule: creator, options: {} }] }, noPhysicFilePath: true },
  });
  return messages.map(({ messageId }) => messageId);
}

test("what the maintained list finds in a text, it no longer finds once the text is redacted", async () => {
  const found = await Promise.all(plantedSecrets.map(async ({ text }) => scan(text)));
  // Else this test would say nothing.
  expect(new Set(found.flat()).size).toBeGreaterThanOrEqual(12);
  for (const { kind, text } of plantedSecrets) {
    expect({ kind, found: await scan(redactText(text)) }).toEqual({ kind, found: [] });
  }
});

test.each([...credentials, emailAddress].map(([pattern]) => [pattern]))(
  "the time of %s grows with the text's length alone",
  (pattern) => {
    expect(analyse(pattern).reports).toEqual([]);
  },
);

test("a pattern whose time grows faster would be seen", () => {
  expect(analyse(/\s+$/u).reports).not.toEqual([]);
});
