/** The unified signal, as producers send it and as readers get it. */

export type Ecosystem = "crypto" | "forex" | "stock";
export type Action = "BUY" | "SELL" | "HOLD" | "CLOSE";
export type SignalType = "MARKET" | "LIMIT" | "STOP" | "ANALYTICS" | "TRADE";

/** What a producer sends. Give prices as text where every digit counts: a number is a float before it is sent. */
export interface Signal {
  /** The same for the same signal, however often it is sent. Made up, once, where it is left out. */
  signal_id?: string;
  ecosystem: Ecosystem;
  /** Now, where it is left out. */
  timestamp?: string | Date;
  symbol: string;
  action: Action;
  /** The `signal_id` of the call that this signal closes or amends. */
  refers_to?: string | null;
  signal_type?: SignalType | null;
  entry_price?: string | number | null;
  stop_loss?: string | number | null;
  take_profit?: string | number | null;
  volume?: string | number | null;
  /** From 0 to 1. */
  confidence?: number | null;
  agent_source?: string | null;
  tags?: string[] | null;
  raw_payload?: Record<string, unknown> | null;
}

/** What a reader gets. Prices are decimal text. */
export interface FeedSignal {
  /** Where the feed goes on after this signal. */
  cursor: string;
  signal_id: string;
  ecosystem: Ecosystem;
  timestamp: string;
  received_at: string;
  /** The canonical symbol, as `BTC/USDT`. */
  instrument: string;
  symbol: string;
  action: Action;
  refers_to: string | null;
  signal_type: SignalType;
  entry_price: string | null;
  stop_loss: string | null;
  take_profit: string | null;
  volume: string | null;
  confidence: number | null;
  agent_source: string;
  tags: string[];
  /** Only where the plan includes it. */
  raw_payload?: Record<string, unknown>;
}
