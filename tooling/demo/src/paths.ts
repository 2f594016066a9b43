import { join } from "node:path";

/** The repository's root folder. */
export const root: string = join(import.meta.dirname, "..", "..", "..");
