/** Between two looks whether the handshake has come back, in milliseconds. */
export const resendLookMs = 15_000;

/** From the last doubling of the pause on it is sent again after so many looks: every ten minutes. */
const mostLooks = 40;

/**
 * Sends the handshake of a start again while it does not come back: the first may have been sent before Inngest knew the
 * app. The pauses double from 15 s on, up to ten minutes. To be called every {@link resendLookMs}.
 */
export class HandshakeResend {
  readonly #isFailing: () => boolean;
  readonly #send: () => Promise<unknown>;
  #looks = 0;

  constructor(isFailing: () => boolean, send: () => Promise<unknown>) {
    this.#isFailing = isFailing;
    this.#send = send;
  }

  async look(): Promise<void> {
    if (!this.#isFailing()) {
      this.#looks = 0;
      return;
    }
    this.#looks += 1;
    if (isPowerOfTwo(this.#looks) || this.#looks % mostLooks === 0) await this.#send();
  }
}

function isPowerOfTwo(count: number): boolean {
  return count < mostLooks && Number.isInteger(Math.log2(count));
}
