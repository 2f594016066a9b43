export { setup, type Setup } from "./setup.ts";
export { createTestDatabase, type TestCluster, type TestDatabase } from "./test-database.ts";
