/** Runs once when the server starts: a wrong variable ends it here, and not at the first tick. */
export async function register(): Promise<void> {
  if (process.env["NEXT_RUNTIME"] !== "nodejs") return;
  const { EvenkeelError, redactText } = await import("@evenkeel/core");
  const { background } = await import("./background.ts");
  try {
    if (background.parts().config.migrate === "only") {
      await background.migrate();
      process.exit(0);
    }
    // Without its database, or beside one that it cannot use, the app serves its pages all the same.
    background.migrateAtStart();
  } catch (error) {
    if (!(error instanceof EvenkeelError)) throw error;
    process.stderr.write(`${redactText(error.message)}\n`);
    process.exit(1);
  }
}
