import { defineConfig } from "prisma/config";

/** Prisma keeps its migration records inside Evenkeel's own schema, apart from the product's. */
function withSchema(databaseUrl: string | undefined): string {
  const url = new URL(databaseUrl ?? "postgresql://localhost:5432/postgres");
  url.searchParams.set("schema", "evenkeel");
  return url.href;
}

export default defineConfig({
  schema: "schema",
  migrations: { path: "migrations" },
  datasource: { url: withSchema(process.env["DATABASE_URL"]) },
});
