import type { ProcessEvidence, SendFailure } from "@evenkeel/dispatch";
import type { CallRefusal, HostObservation } from "@evenkeel/ledger";

import { comparableAddress } from "./address.ts";

/** A request that the host's serve endpoint answered. */
export interface ServedCall {
  readonly method: string;
  /** As the host saw it; a served address is told by its origin and path. */
  readonly url: URL;
  /** A header of the request. */
  readonly header: (name: string) => string | undefined;
  readonly status: number;
  /** The SDK's name and version, as its answer says. */
  readonly sdk?: string | undefined;
}

/** A signature is good for so long, in milliseconds: the SDK refuses an older or newer one. */
const signatureAgeMs = 300_000;

const usualPath = "/api/inngest";

/**
 * What this process sees of Inngest, in memory: its calls and what became of them, sends, and the times in both. It
 * holds no address but the host's own, no key and no payload.
 */
export class Observations {
  readonly #now: () => number;
  readonly #origin: string | undefined;
  #seenUrl: URL | undefined;
  #isSynced = false;
  #sdk = "";
  #calledAtMs: number | undefined;
  #refusedAtMs: number | undefined;
  #refusal: CallRefusal | undefined;
  #signatureSkewMs: number | undefined;
  #sendFailure: SendFailure | undefined;
  #serverSkewMs: number | undefined;
  #others: readonly string[] = [];

  /** @param serveOrigin Where Inngest reaches the host, if that is set; else what a served request shows. */
  constructor(serveOrigin?: string, now: () => number = Date.now) {
    this.#origin = serveOrigin === undefined ? undefined : new URL(serveOrigin).origin;
    this.#now = now;
  }

  /** Where Inngest reaches the host, without a query; empty while nobody knows. */
  get serveUrl(): string {
    const origin = this.#origin ?? this.#seenUrl?.origin;
    if (origin === undefined) return "";
    return comparableAddress(new URL(this.#seenUrl?.pathname ?? usualPath, origin));
  }

  /** The SDK's name and version; empty before it was heard of. */
  get sdk(): string {
    return this.#sdk;
  }

  /** Takes note of an answered request. Returns what it was: Inngest's call, a refused one, or nothing to note. */
  noteServed(call: ServedCall): "called" | "refused" | undefined {
    const { method, url, header, status } = call;
    this.noteSdk(call.sdk);
    const signature = header("x-inngest-signature");
    const isCall = method === "POST" && url.searchParams.has("fnId");
    const signedAtMs = Number(new URLSearchParams(signature ?? "").get("t") ?? Number.NaN) * 1_000;
    const skewMs = Number.isNaN(signedAtMs) ? undefined : signedAtMs - this.#now();
    if (status === 401) {
      // Anybody can ask without a signature; Inngest says who it is.
      if (signature === undefined && header("x-inngest-server-kind") === undefined)
        return undefined;
      this.#refusedAtMs = performance.now();
      this.#refusal =
        skewMs !== undefined && Math.abs(skewMs) > signatureAgeMs ? "expired" : "signature";
      this.#signatureSkewMs = skewMs;
      return "refused";
    }
    const isSync = method === "PUT" && status < 300;
    // The first call shows the address, until a sync shows what Inngest takes for it.
    if (isSync || (isCall && !this.#isSynced && this.#seenUrl === undefined)) this.#seenUrl = url;
    if (isSync) this.#isSynced = true;
    if (!isCall) return undefined;
    this.#calledAtMs = performance.now();
    this.#signatureSkewMs = skewMs;
    return "called";
  }

  /** Takes note of the SDK's name and version. */
  noteSdk(sdk: string | null | undefined): void {
    if (typeof sdk === "string" && sdk !== "") this.#sdk = sdk.replace(/:v/u, "@").slice(0, 100);
  }

  /** Takes note of what became of a send; `undefined`: Inngest took it. */
  noteSend(failure: SendFailure | undefined): void {
    this.#sendFailure = failure;
  }

  /** Takes note of the `Date` of an answer of Inngest's, which is a second wide. */
  noteServerDate(date: string | null): void {
    const atMs = Date.parse(date ?? "");
    if (!Number.isNaN(atMs)) this.#serverSkewMs = atMs - this.#now();
  }

  /** Takes note of the other addresses that serve the app. */
  noteOthers(addresses: readonly string[]): void {
    this.#others = addresses;
  }

  /** What this process saw, for the evidence. */
  evidence(): ProcessEvidence {
    return {
      ...(this.#sendFailure === undefined ? {} : { sendFailure: this.#sendFailure }),
      ...(this.#serverSkewMs === undefined ? {} : { serverSkewMs: this.#serverSkewMs }),
      ...(this.#others.length === 0 ? {} : { otherAddresses: this.#others }),
    };
  }

  /** What this process saw, for the ledger. */
  forLedger(): HostObservation {
    const since = (atMs: number): number => Math.max(0, performance.now() - atMs);
    return {
      ...(this.#calledAtMs === undefined ? {} : { calledMsAgo: since(this.#calledAtMs) }),
      ...(this.#refusedAtMs === undefined ? {} : { refusedMsAgo: since(this.#refusedAtMs) }),
      ...(this.#refusal === undefined ? {} : { refusal: this.#refusal }),
      ...(this.#signatureSkewMs === undefined ? {} : { signatureSkewMs: this.#signatureSkewMs }),
    };
  }
}
