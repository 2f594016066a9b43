/**
 * The sample product's schedules beside `background-jobs`. Every host takes all of them: what one of them dispatches,
 * another watches.
 */
export const inboxSchedules = [{ id: "followups", every: 3_600, overlap: "skip" }] as const;
