import { join } from "node:path";

import type { NextConfig } from "next";

const config: NextConfig = {
  // Postgres clients stay ordinary modules of the server.
  serverExternalPackages: ["pg", "pino"],
  turbopack: { root: join(import.meta.dirname, "..", "..") },
  poweredByHeader: false,
};

export default config;
