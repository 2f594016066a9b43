import { join } from "node:path";

/** The repository's folder. */
export const root: string = join(import.meta.dirname, "..", "..", "..");

/** The command that runs tests as `pnpm test` does, with more arguments after it. */
export const vitestCommand: { readonly file: string; readonly args: readonly string[] } = {
  file: join(root, "node_modules", ".bin", "vitest"),
  args: ["run", "--config", join("tooling", "checks", "vitest.config.ts")],
};
