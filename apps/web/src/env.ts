import { parseBackgroundConfig, type BackgroundConfig } from "@evenkeel/dispatch";

/** Parses the web host's environment. @throws DispatchError `invalid_configuration` with every problem at once. */
export function readConfig(): BackgroundConfig {
  return parseBackgroundConfig(process.env, {
    now: new Date(),
    required: ["DATABASE_URL"],
    servesFunctions: true,
    hostName: "web",
  });
}
