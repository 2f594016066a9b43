/** The engine was asked to run where it must not. */
export class ProductionRefusedError extends Error {
  override readonly name = "ProductionRefusedError";
  constructor() {
    super(
      "The engine is for development and tests and keeps everything in memory; it does not start with NODE_ENV=production. Use Inngest there, or pass allowProduction: true (--allow-production).",
    );
  }
}

/**
 * Refuses to run in production.
 *
 * @throws ProductionRefusedError with `NODE_ENV=production`, unless it is allowed.
 */
export function refuseProduction(isAllowed: boolean): void {
  // The one place that reads the environment: the refusal must hold for every way to start the engine.
  if (!isAllowed && process.env["NODE_ENV"] === "production") throw new ProductionRefusedError();
}
