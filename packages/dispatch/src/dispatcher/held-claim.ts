/** What {@link HeldClaim} works with. */
export interface HeldClaimOptions {
  /** Renews the claim. `false`: it is another's; `undefined`: the ledger did not answer. */
  readonly renew: () => Promise<boolean | undefined>;
  readonly leaseMs: number;
  readonly onLost: () => void;
}

/** A window's claim that is renewed while work goes on under it. Its signal fires when the claim is lost. */
export class HeldClaim {
  readonly #options: HeldClaimOptions;
  readonly #controller = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #hasEnded = false;
  /** When it was last certain that the claim holds. */
  #heldAtMs = 0;

  constructor(options: HeldClaimOptions) {
    this.#options = options;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Renews the claim, and goes on to do so until it ends or is lost. `false`: it is not held. */
  async begin(): Promise<boolean> {
    const askedAtMs = performance.now();
    if ((await this.#options.renew()) !== true) return false;
    this.#heldAtMs = askedAtMs;
    this.#renewAfter(this.#options.leaseMs / 3);
    return true;
  }

  /** Fires the signal. The claim is held on: what ignores the signal still works under it. */
  stop(why: string): void {
    this.#controller.abort(new Error(why));
  }

  /** Nothing works under the claim any more. */
  end(): void {
    this.#hasEnded = true;
    clearTimeout(this.#timer);
  }

  #renewAfter(pauseMs: number): void {
    if (this.#hasEnded) return;
    this.#timer = setTimeout(() => void this.#renew(), pauseMs);
    // It keeps no process alive.
    this.#timer.unref();
  }

  async #renew(): Promise<void> {
    const { leaseMs, renew, onLost } = this.#options;
    const askedAtMs = performance.now();
    const isHeld = await renew();
    if (this.#hasEnded) return;
    if (isHeld === true) {
      this.#heldAtMs = askedAtMs;
      this.#renewAfter(leaseMs / 3);
      return;
    }
    // Without an answer it may be another's once the lease is over; it asks on, as nobody may have taken it.
    const isExpired = performance.now() - this.#heldAtMs > leaseMs * 0.9;
    if ((isHeld === false || isExpired) && !this.signal.aborted) {
      this.stop("The claim of this inline work was lost.");
      onLost();
    }
    if (isHeld === undefined) this.#renewAfter(leaseMs / 10);
  }
}
