/**
 * Options of the real command (`inngest dev`) that mean nothing here, with why. They are taken, and one
 * line says so: scripts written for the real command run as they are.
 */
const ignoredOptions: Readonly<Record<string, { takesValue: boolean; because: string }>> = {
  "no-discovery": { takesValue: false, because: "the engine looks for no apps by itself" },
  persist: { takesValue: false, because: "the engine keeps everything in memory" },
  config: { takesValue: true, because: "the engine reads no configuration file" },
  ...Object.fromEntries(
    [
      "connect-gateway-port",
      "connect-gateway-grpc-port",
      "connect-executor-grpc-port",
      "connect-gateway-grpc-ip",
      "connect-executor-grpc-ip",
    ].map((name) => [name, { takesValue: true, because: "the engine has no Connect" }]),
  ),
  ...Object.fromEntries(
    [
      "sqlite-dir",
      "postgres-uri",
      "postgres-max-idle-conns",
      "postgres-max-open-conns",
      "postgres-conn-max-idle-time",
      "postgres-conn-max-lifetime",
    ].map((name) => [name, { takesValue: true, because: "the engine has no database" }]),
  ),
  "debug-api-port": { takesValue: true, because: "the engine has no debug API" },
  "system-trace-endpoint": { takesValue: true, because: "the engine sends no traces" },
  "system-trace-url-path": { takesValue: true, because: "the engine sends no traces" },
};

/** The ignored options, as `parseArgs` takes options. */
export const ignoredOptionTypes: Readonly<Record<string, { readonly type: "string" | "boolean" }>> =
  Object.fromEntries(
    Object.entries(ignoredOptions).map(([name, { takesValue }]) => [
      name,
      { type: takesValue ? "string" : "boolean" },
    ]),
  );

/** One line per ignored option that was given. */
export function describeIgnored(given: readonly string[]): string[] {
  return given.flatMap((name) => {
    const option = ignoredOptions[name];
    return option === undefined ? [] : [`--${name} has no effect: ${option.because}`];
  });
}
