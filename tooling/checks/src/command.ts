import { spawn } from "node:child_process";
import { delimiter, join } from "node:path";

/** What a check found: nothing, or the text that says what. */
export interface CheckResult {
  readonly ok: boolean;
  readonly output: string;
}

/** Runs one of the repository's own programs, from `node_modules/.bin`, and keeps what it writes. */
export async function runCommand(
  root: string,
  program: string,
  args: readonly string[],
): Promise<CheckResult> {
  return new Promise((resolve) => {
    const programs = join(root, "node_modules", ".bin");
    const child = spawn(join(programs, program), args, {
      cwd: root,
      // turbo asks the path for pnpm.
      env: { ...process.env, PATH: `${programs}${delimiter}${process.env["PATH"] ?? ""}` },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const parts: Buffer[] = [];
    const keep = (part: Buffer): void => void parts.push(part);
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", (error) => resolve({ ok: false, output: error.message }));
    child.on("close", (code) =>
      resolve({ ok: code === 0, output: Buffer.concat(parts).toString("utf8").trim() }),
    );
  });
}
