export {
  createTestBackground,
  type TestBackground,
  type TestBackgroundOptions,
  type TickResult,
} from "./test-background.ts";
