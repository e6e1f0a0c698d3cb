/** Publish signals to a Signal Hub, follow its feed, and verify what it delivers. */

export { type Backoff, CursorAhead, HubError, type Problem, Unsent } from "./errors.js";
export { Feed, type FeedOptions, type FollowOptions } from "./feed.js";
export { Publisher, type PublisherOptions, type Receipt, type Rejection } from "./publisher.js";
export type { Action, Ecosystem, FeedSignal, Signal, SignalType } from "./signals.js";
export { type Delivery, InvalidSignature, sign, type VerifyOptions, verify } from "./signatures.js";
