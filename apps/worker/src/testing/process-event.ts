/** An event that starts a drain of the queue. */
export const processEvent = {
  id: "e-1",
  name: "background/process.requested",
  data: {
    source: "test",
    requestedAt: "2026-01-01T00:00:00.000Z",
    dispatchKey: "background-jobs|v1|global|60|2026-01-01T00:00:00.000Z",
    correlationId: "c-1",
    dispatchWindowStart: "2026-01-01T00:00:00.000Z",
    dispatchWindowSeconds: 60,
    schemaVersion: 1,
    lane: "stable",
    schedule: "background-jobs",
  },
};
