/** The cohorts a piece of work can belong to. */
export const lanes: readonly ["stable", "canary"] = ["stable", "canary"];

/** Which cohort a piece of work belongs to. */
export type Lane = (typeof lanes)[number];
