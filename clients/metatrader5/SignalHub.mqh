//+------------------------------------------------------------------+
//| SignalHub.mqh - sends what an Expert Advisor does to Signal Hub  |
//+------------------------------------------------------------------+
// Needs a source with the preset `unified` on the hub, and the hub's address under Tools, Options, Expert Advisors,
// "Allow WebRequest for listed URL". Copy this file to MQL5\Include, then in the Expert Advisor:
//
//    #include <SignalHub.mqh>
//    input string Hook = "";   // the source's URL, https://…/api/hooks/shs_…
//    CSignalHub   hub;
//
//    int  OnInit()                   { EventSetTimer(5); return hub.Init(Hook) ? INIT_SUCCEEDED : INIT_PARAMETERS_INCORRECT; }
//    void OnTimer()                  { hub.Flush(); }
//    void OnDeinit(const int reason) { EventKillTimer(); hub.Flush(true); }
//
//    hub.Entry(ticket, _Symbol, "BUY", price, stop, target, lots);   // once a position is open
//    hub.Modify(ticket, _Symbol, "BUY", stop, target);               // 0 leaves the earlier one
//    hub.Exit(ticket, _Symbol, price);                               // once it is closed
//
// Each of them sends a body like these; a price of 0 is left out:
//
//    {"signal_id":"mt5-5012345-81","timestamp":"2026-01-15T09:30:00Z","symbol":"EURUSD","action":"BUY","entry_price":1.08450,"stop_loss":1.08100,"take_profit":1.09500,"volume":0.10000000}
//    {"signal_id":"mt5-5012345-81-1768469700-1","timestamp":"2026-01-15T09:35:00Z","symbol":"EURUSD","action":"BUY","refers_to":"mt5-5012345-81","stop_loss":1.08450,"take_profit":1.09500}
//    {"signal_id":"mt5-5012345-81-exit","timestamp":"2026-01-15T10:00:00Z","symbol":"EURUSD","action":"CLOSE","refers_to":"mt5-5012345-81","entry_price":1.09020}
//
// A request waits for the hub for as long as the timeout, 5 seconds, and a call begins none after that time. What the hub
// did not answer stays in memory, unchanged and in its order, and is sent again by Flush, so call that from OnTimer. The hub
// counts a signal that it knows already as a duplicate. In the strategy tester, where WebRequest does not work, nothing is
// sent.
#ifndef SIGNAL_HUB_MQH
#define SIGNAL_HUB_MQH

#define SIGNAL_HUB_MAX_PENDING 1000
#define SIGNAL_HUB_LONGEST_PAUSE_MS 60000
#define SIGNAL_HUB_NOT_ALLOWED 4014   // ERR_FUNCTION_NOT_ALLOWED

class CSignalHub
  {
private:
   string            m_hook;
   string            m_account;
   string            m_error;
   string            m_pending[];
   int               m_timeout;
   int               m_failures;
   int               m_changes;
   ulong             m_wait_until;

   bool              Enqueue(const string body);
   bool              Post(const string body, bool &done);
   bool              Fail(const string text);
   string            Head(const string id, const string symbol, const string action);
   string            Price(const string name, const string symbol, const double value);
   string            Now(void);
   string            Quoted(const string text);

public:
                     CSignalHub(void);
   bool              Init(const string hook, const int timeout_ms = 5000);
   bool              Entry(const ulong ticket, const string symbol, const string action, const double price,
                           const double stop = 0, const double target = 0, const double volume = 0);
   bool              Modify(const ulong ticket, const string symbol, const string action, const double stop,
                            const double target);
   bool              Exit(const ulong ticket, const string symbol, const double price = 0);
   bool              Flush(const bool at_once = false);
   int               Pending(void)   { return(ArraySize(m_pending)); }
   string            LastError(void) { return(m_error); }
   string            Id(const ulong ticket);
  };

CSignalHub::CSignalHub(void)
  {
   m_hook = "";
   m_account = "";
   m_error = "";
   m_timeout = 5000;
   m_failures = 0;
   m_changes = 0;
   m_wait_until = 0;
  }

//--- Set the hook's URL. False, with an error, for what is none.
bool CSignalHub::Init(const string hook, const int timeout_ms)
  {
   m_hook = hook;
   m_timeout = timeout_ms;
   m_account = IntegerToString(AccountInfoInteger(ACCOUNT_LOGIN));
   if(StringFind(hook, "http") != 0 || StringFind(hook, "/api/hooks/shs_") < 0)
      return(Fail("the hook is the URL that the hub showed when the source was made, https://.../api/hooks/shs_..."));
   return(true);
  }

//--- Return the signal_id of a position's entry.
string CSignalHub::Id(const ulong ticket)
  {
   return("mt5-" + m_account + "-" + StringFormat("%I64u", ticket));
  }

//--- Send that a position was opened. True once the hub has recorded it; else Flush sends it again.
bool CSignalHub::Entry(const ulong ticket, const string symbol, const string action, const double price,
                       const double stop, const double target, const double volume)
  {
   string body = Head(Id(ticket), symbol, action) + Price("entry_price", symbol, price) +
                 Price("stop_loss", symbol, stop) + Price("take_profit", symbol, target);
   if(volume > 0)
      body += ",\"volume\":" + DoubleToString(volume, 8);
   return(Enqueue(body + "}"));
  }

//--- Send a position's new stop and target; one that is 0 leaves the earlier one as it is.
bool CSignalHub::Modify(const ulong ticket, const string symbol, const string action, const double stop,
                        const double target)
  {
   m_changes++;   // two changes may come within one second
   string id = Id(ticket) + StringFormat("-%I64d-%d", (long)TimeGMT(), m_changes);
   return(Enqueue(Head(id, symbol, action) + ",\"refers_to\":" + Quoted(Id(ticket)) +
                  Price("stop_loss", symbol, stop) + Price("take_profit", symbol, target) + "}"));
  }

//--- Send that a position was closed.
bool CSignalHub::Exit(const ulong ticket, const string symbol, const double price)
  {
   return(Enqueue(Head(Id(ticket) + "-exit", symbol, "CLOSE") + ",\"refers_to\":" + Quoted(Id(ticket)) +
                  Price("entry_price", symbol, price) + "}"));
  }

//--- Send what is pending, the oldest first, up to the first failure. True when nothing is left, and the last one was
//--- recorded. After a failure it waits longer each time, unless `at_once`.
bool CSignalHub::Flush(const bool at_once)
  {
   bool  recorded = true;
   ulong began = GetTickCount64();
   while(ArraySize(m_pending) > 0)
     {
      if((!at_once && GetTickCount64() < m_wait_until) || GetTickCount64() - began > (ulong)m_timeout)
         return(false);
      bool done = false;
      recorded = Post(m_pending[0], done);
      if(!done)
        {
         m_failures++;
         int pause = m_failures > 6 ? SIGNAL_HUB_LONGEST_PAUSE_MS : 1000 << (m_failures - 1);
         m_wait_until = GetTickCount64() + (ulong)pause;
         return(false);
        }
      m_failures = 0;
      m_wait_until = 0;
      if(recorded)
         m_error = "";
      ArrayRemove(m_pending, 0, 1);
     }
   return(recorded);
  }

bool CSignalHub::Enqueue(const string body)
  {
   if(MQLInfoInteger(MQL_TESTER) != 0)
      return(true);
   int size = ArraySize(m_pending);
   if(size >= SIGNAL_HUB_MAX_PENDING)
      return(Fail("too many signals are pending: this one is not sent: " + body));
   ArrayResize(m_pending, size + 1);
   m_pending[size] = body;
   return(Flush());
  }

//--- Post one body. `done` says that it need not be sent again: it is recorded, or was refused.
bool CSignalHub::Post(const string body, bool &done)
  {
   char   data[], answer[];
   string headers = "";
   int    size = StringToCharArray(body, data, 0, WHOLE_ARRAY, CP_UTF8);
   ArrayResize(data, size - 1);   // without the zero at its end
   ResetLastError();
   int status = WebRequest("POST", m_hook, "Content-Type: application/json\r\n", m_timeout, data, answer, headers);
   done = status == 200 || status == 202;
   if(done)
      return(true);
   if(status < 0)
     {
      int code = GetLastError();
      if(code == SIGNAL_HUB_NOT_ALLOWED)
         return(Fail("WebRequest is not allowed: add the hub's address, such as https://hub.example.com, under Tools, "
                     "Options, Expert Advisors, Allow WebRequest for listed URL. What is pending is sent then"));
      return(Fail("the hub does not answer, error " + IntegerToString(code)));
     }
   string text = CharArrayToString(answer, 0, WHOLE_ARRAY, CP_UTF8);
   // What the hub refuses for good it has kept as a dead letter where it can. A 404 is a hook to be corrected.
   done = status == 400 || status == 409 || status == 413 || status == 415 || status == 422;
   return(Fail("the hub answered " + IntegerToString(status) + ": " + text));
  }

//--- Keep and print an error. It never holds the hook, which is a secret.
bool CSignalHub::Fail(const string text)
  {
   if(text != m_error)
      Print("Signal Hub: ", text);
   m_error = text;
   return(false);
  }

string CSignalHub::Head(const string id, const string symbol, const string action)
  {
   return("{\"signal_id\":" + Quoted(id) + ",\"timestamp\":\"" + Now() + "\",\"symbol\":" + Quoted(symbol) +
          ",\"action\":" + Quoted(action));
  }

//--- Return a price as a field, or nothing for one that is not set.
string CSignalHub::Price(const string name, const string symbol, const double value)
  {
   if(!MathIsValidNumber(value) || value <= 0)
      return("");
   return(",\"" + name + "\":" + DoubleToString(value, (int)SymbolInfoInteger(symbol, SYMBOL_DIGITS)));
  }

//--- Return the time in UTC, as 2026-01-15T09:30:00Z.
string CSignalHub::Now(void)
  {
   string text = TimeToString(TimeGMT(), TIME_DATE | TIME_SECONDS);   // 2026.01.15 09:30:00
   StringReplace(text, ".", "-");
   StringReplace(text, " ", "T");
   return(text + "Z");
  }

//--- Return a text as a string of JSON.
string CSignalHub::Quoted(const string text)
  {
   string quoted = "\"";
   for(int i = 0; i < StringLen(text); i++)
     {
      ushort letter = StringGetCharacter(text, i);
      if(letter < 32)
         quoted += StringFormat("\\u%04x", letter);
      else
        {
         if(letter == '"' || letter == '\\')
            quoted += "\\";
         quoted += ShortToString(letter);
        }
     }
   return(quoted + "\"");
  }

#endif
