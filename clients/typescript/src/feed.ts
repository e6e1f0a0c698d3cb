/** Following the feed: pages over REST up to its present end, then the stream, each signal once. */

import {
  type Backoff,
  bearer,
  CursorAhead,
  HubError,
  pause,
  pauseAfter,
  problemOf,
  reasonOf,
  retryAfterMs,
} from "./errors.js";
import { events } from "./event_stream.js";
import type { Action, Ecosystem, FeedSignal } from "./signals.js";

export interface FeedOptions {
  /** Where the hub is, as `https://hub.example.com`. */
  url: string;
  /** A reader's key, `shk_…`. */
  key: string;
  /** Where the stream is, if not at the hub's own address, as under `make run`. */
  streamUrl?: string;
  /** Ask for pages so often instead of streaming, as for plans without streams. */
  pollMs?: number;
  onRetry?: Backoff;
}

export interface FollowOptions {
  /** The cursor to go on from: that of the last signal that was handled. Without it, from the start. */
  after?: string;
  ecosystem?: Ecosystem;
  instrument?: string;
  action?: Action;
  agent?: string;
  /** Only what closes or amends the call with this `signal_id`. */
  refers_to?: string;
  /**
   * Return whether a signal is known already, by `ecosystem` and `signal_id`. If the hub was restored to an
   * earlier state, everything is read again from the start, and what is known is passed over. Without it,
   * `follow` throws CursorAhead then.
   */
  isKnown?: (signal: FeedSignal) => boolean | Promise<boolean>;
  /** Called when all signals up to a cursor were handled, also where filters hid the last ones. */
  onCursor?: (cursor: string) => void | Promise<void>;
  /** Ends `follow`, which then throws its reason. */
  abort?: AbortSignal;
}

/** The options, with the cursor that was reached. */
type Wanted = Omit<FollowOptions, "after"> & { after: string | undefined };

/** A signal, unless filters hid it, and the cursor behind it. */
interface Step {
  signal?: FeedSignal;
  cursor: string;
}

interface Page {
  signals: FeedSignal[];
  next: string;
  has_more: boolean;
}

const ANSWER_TIMEOUT_MS = 60_000;
/** The stream sends something every 15 s: one that is silent for so long is dead. */
const SILENCE_TIMEOUT_MS = 45_000;
const RECONNECT_MS = 3_000;
/** Statuses after which the same request may succeed; all others need someone to correct something. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);

/** A failure that passes, and how long the hub asks to wait. */
class Passing extends Error {
  constructor(
    reason: string,
    readonly pauseMs?: number,
  ) {
    super(reason);
  }
}

/** Reads the feed of a hub with a reader's key. */
export class Feed {
  readonly #options: FeedOptions;
  readonly #headers: Headers;

  /** Throws TypeError for an address or a key that cannot be one. */
  constructor(options: FeedOptions) {
    this.#options = options;
    this.#headers = new Headers({ Authorization: bearer(options.key) });
    for (const url of [options.url, options.streamUrl]) if (url !== undefined) new URL(url);
  }

  /**
   * Yield the signals in the order in which they were recorded, and go on with new ones without an end.
   *
   * Outages of the hub and its limits (`Retry-After`) are waited for. A reader that is started again with the
   * cursor of the last signal that it handled misses nothing and gets nothing twice. Throws HubError where
   * the hub refuses, as for a key that was revoked, and CursorAhead (see `isKnown`).
   */
  async *follow(options: FollowOptions = {}): AsyncGenerator<FeedSignal, never> {
    const { isKnown, onCursor, abort } = options;
    let [after, failures, again] = [options.after, 0, false];
    for (;;) {
      let ms = this.#options.pollMs ?? RECONNECT_MS;
      try {
        for await (const { signal, cursor } of this.#round({ ...options, after })) {
          failures = 0;
          after = cursor;
          if (signal && !(again && (await isKnown?.(signal)))) yield signal;
          await onCursor?.(cursor);
        }
        failures = 0;
      } catch (error) {
        abort?.throwIfAborted();
        if (error instanceof CursorAhead && isKnown && after !== undefined) {
          [after, again] = [undefined, true];
          continue;
        }
        if (!(error instanceof Passing)) throw error;
        ms = error.pauseMs ?? Math.max(RECONNECT_MS, pauseAfter(failures++));
        this.#options.onRetry?.(error.message, ms);
      }
      await pause(ms, abort);
    }
  }

  /** Yield the feed up to its end, then the stream up to its own. */
  async *#round(wanted: Wanted): AsyncGenerator<Step> {
    let [after, more] = [wanted.after, true];
    while (more) {
      const page = await this.#page({ ...wanted, after });
      for (const signal of page.signals) yield { signal, cursor: signal.cursor };
      if (page.next !== (page.signals.at(-1)?.cursor ?? after)) yield { cursor: page.next };
      [after, more] = [page.next, page.has_more];
    }
    if (this.#options.pollMs === undefined) yield* this.#stream({ ...wanted, after });
  }

  async #page(wanted: Wanted): Promise<Page> {
    const timeout = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const signal = wanted.abort ? AbortSignal.any([wanted.abort, timeout]) : timeout;
    const response = await this.#get(this.#options.url, "signals", { ...query(wanted), limit: "500" }, signal);
    return passing(response.json() as Promise<Page>);
  }

  async *#stream(wanted: Wanted): AsyncGenerator<Step> {
    const silence = new AbortController();
    const hangUp = () => silence.abort(new Error(`the stream was silent for ${SILENCE_TIMEOUT_MS / 1000} s`));
    let timer = setTimeout(hangUp, SILENCE_TIMEOUT_MS);
    try {
      const signal = wanted.abort ? AbortSignal.any([wanted.abort, silence.signal]) : silence.signal;
      const hub = this.#options.streamUrl ?? this.#options.url;
      // What is decided of calls would count as signals of the day.
      const response = await this.#get(hub, "stream", { ...query(wanted), outcomes: "false" }, signal);
      if (!response.body) throw new Passing("the stream has no body");
      const stream = events(response.body);
      for (let next = await passing(stream.next()); !next.done; next = await passing(stream.next())) {
        clearTimeout(timer);
        // Why the stream ends is said again, and better, in answer to the next request.
        if (next.value.type === "end") return;
        const { id: cursor, type, data } = next.value;
        if (type === "signal") yield { signal: JSON.parse(data) as FeedSignal, cursor };
        else if (cursor) yield { cursor };
        timer = setTimeout(hangUp, SILENCE_TIMEOUT_MS);
      }
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  async #get(hub: string, path: string, asked: Record<string, string>, signal: AbortSignal): Promise<Response> {
    const url = new URL(`${hub.replace(/\/+$/, "")}/api/v1/${path}?${new URLSearchParams(asked)}`);
    const response = await passing(fetch(url, { headers: this.#headers, signal, redirect: "manual" }));
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (problem.status === 410) throw new CursorAhead(problem);
    if (!PASSING.has(problem.status)) throw new HubError(problem);
    throw new Passing(`${problem.status} ${problem.code}: ${problem.detail}`, retryAfterMs(response.headers));
  }
}

/** Return what of the options is a filter or a cursor, for a URL. */
function query(wanted: Wanted): Record<string, string> {
  const { ecosystem, instrument, action, agent, refers_to, after } = wanted;
  const found = Object.entries({ ecosystem, instrument, action, agent, refers_to, after });
  return Object.fromEntries(found.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** Return what a request gives; what breaks in it passes. */
async function passing<T>(given: Promise<T>): Promise<T> {
  try {
    return await given;
  } catch (error) {
    throw new Passing(reasonOf(error));
  }
}
