/** Publishing: signed requests to the webhook, sent again until the hub has committed them. */

import {
  type Backoff,
  bearer,
  HubError,
  isObject,
  pause,
  pauseAfter,
  type Problem,
  problemOf,
  reasonOf,
  retryAfterMs,
  Unsent,
} from "./errors.js";
import type { Signal } from "./signals.js";
import { checkSecret, messageId, sign } from "./signatures.js";

export interface PublisherOptions {
  /** The hub's endpoint, as `https://hub.example.com/api/signals`. */
  url: string;
  /** The shared secret, or that of the key: `whsec_…`, or any text. */
  secret: string;
  /** Where the hub requires one. */
  apiKey?: string;
  /** How long one request may take: 10 s. */
  timeoutMs?: number;
  /** How long to try before `Unsent`: 5 minutes. */
  retryForMs?: number;
  onRetry?: Backoff;
}

/** A signal that the hub refused; its `index` is that in what was published. */
export interface Rejection {
  index: number;
  signal_id: string | null;
  code: string;
  detail: string;
}

/** What became of the signals. Those that were accepted, and duplicates, are on record. */
export interface Receipt {
  accepted: number;
  duplicates: number;
  rejected: Rejection[];
}

const MAX_SIGNALS = 1000;
const MAX_BYTES = 1_048_576;
/** Statuses that refuse signals rather than the request, if the problem names them. */
const OF_SIGNALS = new Set([403, 409, 422]);
/** Statuses that refuse a request for good. After all others it is sent again. */
const FOR_GOOD = new Set([400, 401, 403, 409, 411, 413, 415, 422]);

/** Publishes signals. Nothing is kept on disk: what is not confirmed is the caller's, in `Unsent`. */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #timeoutMs: number;
  readonly #retryForMs: number;
  readonly #headers: Headers;

  /** Throws TypeError for an address or a key that cannot be one. */
  constructor(options: PublisherOptions) {
    new URL(options.url);
    this.#options = options;
    this.#headers = new Headers({ "Content-Type": "application/json" });
    if (options.apiKey !== undefined) this.#headers.set("Authorization", bearer(options.apiKey));
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#retryForMs = options.retryForMs ?? 300_000;
  }

  /**
   * Send signals, and resolve once they are committed. Where some break a rule, these are in `rejected`.
   *
   * Throws HubError if the hub refuses the request or all of its signals, Unsent if no hub confirms it in time,
   * TypeError for a number that JSON does not have, and the reason of the AbortSignal.
   */
  async publish(signals: Signal | readonly Signal[], abort?: AbortSignal): Promise<Receipt> {
    await checkSecret(this.#options.secret);
    const identified = (Array.isArray(signals) ? signals : [signals]).map(identify);
    const texts = identified.map((signal) => JSON.stringify(signal, refuseNonNumbers));
    const receipt: Receipt = { accepted: 0, duplicates: 0, rejected: [] };
    const deadline = Date.now() + this.#retryForMs;
    let refusal: Problem | undefined;
    let [done, most] = [0, MAX_SIGNALS];
    while (done < texts.length) {
      const batch = texts.slice(done, done + fitting(texts, done, most));
      const answer = await this.#deliver(batch, deadline, abort);
      if (typeof answer === "string") throw new Unsent(identified.slice(done), receipt, answer);
      if ("accepted" in answer) {
        receipt.accepted += answer.accepted;
        receipt.duplicates += answer.duplicates;
      } else if (answer.status === 413) {
        most = Math.floor(batch.length / 2);
        continue;
      } else refusal = answer;
      receipt.rejected.push(...rejections(answer, identified, done));
      done += batch.length;
    }
    if (refusal && receipt.rejected.length === texts.length) {
      throw new HubError({ ...refusal, errors: receipt.rejected });
    }
    return receipt;
  }

  /** Send one batch until it is answered: return its receipt, why there is none, or how its signals are refused. */
  async #deliver(batch: string[], deadline: number, abort?: AbortSignal): Promise<Receipt | Problem | string> {
    const body = batch.length === 1 ? (batch[0] as string) : `[${batch.join(",")}]`;
    const id = await messageId(body);
    for (let failures = 0; ; failures++) {
      let reason: string;
      let asked: number | undefined;
      try {
        const response = await this.#post(id, body, abort);
        if (response.status === 200 || response.status === 202) {
          const receipt: unknown = await response.json().catch(() => undefined);
          if (isReceipt(receipt)) return receipt;
          reason = `${response.status} from a server that is not a hub: check the URL`;
        } else {
          const problem = await problemOf(response);
          if (problem.status === 413 && batch.length > 1) return problem;
          if (OF_SIGNALS.has(problem.status) && problem.errors) return problem;
          if (FOR_GOOD.has(problem.status)) throw new HubError(problem);
          reason = `${problem.status} ${problem.code}: ${problem.detail}`;
          asked = retryAfterMs(response.headers);
        }
      } catch (error) {
        if (error instanceof HubError) throw error;
        abort?.throwIfAborted();
        reason = reasonOf(error);
      }
      const ms = asked ?? pauseAfter(failures);
      if (Date.now() + ms > deadline) return reason;
      this.#options.onRetry?.(reason, ms);
      await pause(ms, abort);
    }
  }

  async #post(id: string, body: string, abort?: AbortSignal): Promise<Response> {
    const now = Math.floor(Date.now() / 1000);
    const timeout = AbortSignal.timeout(this.#timeoutMs);
    const headers = new Headers(this.#headers);
    headers.set("webhook-id", id);
    headers.set("webhook-timestamp", String(now));
    headers.set("webhook-signature", await sign(this.#options.secret, id, now, body));
    const signal = abort ? AbortSignal.any([abort, timeout]) : timeout;
    return fetch(this.#options.url, { method: "POST", body, headers, signal, redirect: "manual" });
  }
}

/** Return the signal with an id and a time, so that it stays the same however often it is sent. */
function identify(signal: Signal): Signal {
  return {
    ...signal,
    signal_id: signal.signal_id ?? crypto.randomUUID(),
    timestamp: signal.timestamp ?? new Date().toISOString(),
  };
}

/** JSON would say null, and the price would be lost without a word. */
function refuseNonNumbers(key: string, value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`${key} is ${value}`);
  return value;
}

/** Return how many signals from `start` on fit into one request; at least one. */
function fitting(texts: string[], start: number, most: number): number {
  let [count, bytes] = [0, 1];
  while (count < most && start + count < texts.length) {
    bytes += new TextEncoder().encode(texts[start + count]).length + 1;
    if (bytes > MAX_BYTES && count > 0) break;
    count++;
  }
  return count;
}

function isReceipt(value: unknown): value is Receipt {
  return isObject(value) && typeof value["accepted"] === "number" && Array.isArray(value["rejected"]);
}

/** Return what was refused of a batch that begins at `start`; one signal may break several rules. */
function rejections(answer: Receipt | Problem, signals: Signal[], start: number): Rejection[] {
  const found = new Map<number, Rejection>();
  for (const { index = 0, code, detail } of ("accepted" in answer ? answer.rejected : answer.errors) ?? []) {
    const place = start + index;
    const known = found.get(place);
    if (known) known.detail += `; ${detail}`;
    else found.set(place, { index: place, signal_id: signals[place]?.signal_id ?? null, code, detail });
  }
  return [...found.values()];
}
