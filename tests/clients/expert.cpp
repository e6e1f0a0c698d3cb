// An Expert Advisor that does what its input says, a call a line, and prints what each returned.
#include "mql5.hpp"
#include "SignalHub.hpp"

std::string word()
{
  std::string text;
  std::cin >> text;
  return text;
}
double number() { return std::stod(word()); }  // also inf and nan

int main()
{
  CSignalHub hub;
  for (std::string call; !(call = word()).empty();) {
    bool result = true;
    if (call == "init") result = hub.Init(word().c_str());
    if (call == "allowed") is_allowed = number();
    if (call == "tester") is_tester = number();
    if (call == "skip") skipped_ms += number();
    if (call == "flush") result = hub.Flush();
    if (call == "entry" || call == "modify" || call == "exit") {
      ulong ticket = number();
      string symbol = word().c_str(), action = call == "exit" ? "" : word().c_str();
      double prices[4] = {};
      for (int i = call == "entry" ? 0 : 1; i < (call == "entry" ? 4 : call == "modify" ? 3 : 0); i++) prices[i] = number();
      if (call == "entry") result = hub.Entry(ticket, symbol, action, prices[0], prices[1], prices[2], prices[3]);
      if (call == "modify") result = hub.Modify(ticket, symbol, action, prices[1], prices[2]);
      if (call == "exit") result = hub.Exit(ticket, symbol);
    }
    std::cout << call << " " << result << " " << hub.Pending() << std::endl;
  }
}
