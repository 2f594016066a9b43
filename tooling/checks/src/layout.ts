import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const maxLines = 600;
const source = /\.(?:ts|tsx|mjs|js|css|sql|prisma)$/u;

/**
 * Checks what no linter does: no source file over 600 lines, and a README in every package that opens with
 * a title and a sentence. Answers one line per problem.
 */
export async function checkLayout(root: string): Promise<string[]> {
  const files = await listFiles(root);
  const problems: string[] = [];
  for (const file of files) {
    if (!source.test(file)) continue;
    const lines = (await readFile(join(root, file), "utf8")).split("\n").length - 1;
    if (lines > maxLines) problems.push(`${file} has ${lines} lines; the limit is ${maxLines}.`);
  }
  for (const file of files) {
    const folder = /^((?:packages|apps|tooling)\/[^/]+)\/package\.json$/u.exec(file)?.[1];
    if (folder === undefined) continue;
    const readme = await readFile(join(root, folder, "README.md"), "utf8").catch(() => "");
    if (!/^# .+\n\n[A-Z`].{20,}/u.test(readme)) {
      problems.push(`${folder} has no README.md that opens with its purpose.`);
    }
  }
  return problems;
}

/** Tracked and new files, without what git ignores. */
async function listFiles(root: string): Promise<string[]> {
  const list = ["ls-files", "--cached", "--others", "--exclude-standard"];
  const { stdout } = await promisify(execFile)("git", list, { cwd: root, maxBuffer: 1 << 26 });
  const deleted = await promisify(execFile)("git", ["ls-files", "--deleted"], { cwd: root });
  const gone = new Set(deleted.stdout.split("\n"));
  return stdout.split("\n").filter((file) => file !== "" && !gone.has(file));
}
