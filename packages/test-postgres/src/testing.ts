export { setup, type Setup } from "./setup.ts";
export { startSilentProxy, type SilentProxy } from "./silent-proxy.ts";
export { createTestDatabase, type TestCluster, type TestDatabase } from "./test-database.ts";
