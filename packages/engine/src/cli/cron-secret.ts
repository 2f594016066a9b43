import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseEnv } from "node:util";

/** A cron secret and where it was found. */
export interface FoundSecret {
  readonly secret: string;
  readonly from: string;
}

const files = [".env.local", ".env"];

/** Finds `CRON_SECRET`: in the environment, or else in the files from which an app in this folder reads it. */
export function findCronSecret(
  environment: Readonly<Record<string, string | undefined>>,
  folder: string,
): FoundSecret | undefined {
  const given = environment["CRON_SECRET"]?.trim() ?? "";
  if (given !== "") return { secret: given, from: "the environment" };
  for (const file of files) {
    const secret = readSecret(join(folder, file));
    if (secret !== undefined) return { secret, from: file };
  }
  return undefined;
}

function readSecret(path: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
  const secret = parseEnv(text)["CRON_SECRET"]?.trim() ?? "";
  return secret === "" ? undefined : secret;
}
