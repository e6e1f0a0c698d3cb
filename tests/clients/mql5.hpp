// The parts of MQL5 that SignalHub.mqh uses, for a C++ compiler. WebRequest speaks HTTP/1.1 to this machine.
#pragma once
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <codecvt>
#include <cstdarg>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <locale>
#include <vector>

// Macros, since the system's headers have types of these names and other sizes.
#define ulong unsigned long long
#define ushort char16_t
using datetime = long long;

inline std::wstring_convert<std::codecvt_utf8_utf16<char16_t>, char16_t> utf8;

struct string  // as in MQL5, of UTF-16
{
  std::u16string text;
  string(const char* bytes = "") : text(utf8.from_bytes(bytes)) {}
  string(std::u16string letters) : text(std::move(letters)) {}
  string& operator+=(const string& other) { text += other.text; return *this; }
  bool operator==(const string& other) const { return text == other.text; }
  bool operator!=(const string& other) const { return text != other.text; }
};
inline string operator+(const string& one, const string& other) { return string(one.text + other.text); }
inline std::ostream& operator<<(std::ostream& out, const string& value) { return out << utf8.to_bytes(value.text); }

template <class T>
using Array = std::vector<T>;
template <class T>
int ArraySize(const Array<T>& array) { return array.size(); }
template <class T>
int ArrayResize(Array<T>& array, int size) { array.resize(size); return size; }
template <class T>
bool ArrayRemove(Array<T>& array, uint start, int count)
{
  array.erase(array.begin() + start, array.begin() + start + count);
  return true;
}

enum { WHOLE_ARRAY = -1, CP_UTF8 = 65001, TIME_DATE = 1, TIME_SECONDS = 4 };
enum { ACCOUNT_LOGIN, SYMBOL_DIGITS, MQL_TESTER };
inline bool is_tester = false, is_allowed = true;
inline ulong skipped_ms = 0;
inline int last_error = 0;

inline int StringLen(const string& value) { return value.text.size(); }
inline ushort StringGetCharacter(const string& value, int place) { return value.text[place]; }
inline string ShortToString(ushort letter) { return std::u16string(1, letter); }
inline int StringFind(const string& value, const string& part) { return (int)value.text.find(part.text); }
inline int StringReplace(string& value, const string& old, const string& now)
{
  int count = 0;
  for (size_t place; (place = value.text.find(old.text)) != std::u16string::npos; count++)
    value.text.replace(place, old.text.size(), now.text);
  return count;
}
inline string StringFormat(std::string format, ...)
{
  for (size_t place; (place = format.find("I64")) != std::string::npos;) format.replace(place, 3, "ll");
  char buffer[256];
  va_list values;
  va_start(values, format);
  vsnprintf(buffer, sizeof buffer, format.c_str(), values);
  va_end(values);
  return buffer;
}
inline string IntegerToString(long long value) { return std::to_string(value).c_str(); }
inline string DoubleToString(double value, int digits)
{
  char buffer[400];
  snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return buffer;
}
inline bool MathIsValidNumber(double value) { return std::isfinite(value); }
inline long long AccountInfoInteger(int) { return 5012345; }
inline long long SymbolInfoInteger(const string&, int) { return 5; }
inline long long MQLInfoInteger(int) { return is_tester; }
inline datetime TimeGMT() { return time(nullptr); }
inline string TimeToString(datetime at, int)
{
  char buffer[32];
  time_t seconds = at;
  strftime(buffer, sizeof buffer, "%Y.%m.%d %H:%M:%S", gmtime(&seconds));
  return buffer;
}
inline ulong GetTickCount64()
{
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count() + skipped_ms;
}
inline int GetLastError() { return last_error; }
inline void ResetLastError() { last_error = 0; }
template <class... T>
void Print(const T&... parts) { (std::cout << ... << parts) << std::endl; }

inline int StringToCharArray(const string& value, Array<char>& array, int, int, uint)
{
  std::string bytes = utf8.to_bytes(value.text);
  array.assign(bytes.c_str(), bytes.c_str() + bytes.size() + 1);  // with the zero at the end
  return array.size();
}
inline string CharArrayToString(const Array<char>& array, int, int, uint)
{
  return std::string(array.begin(), array.end()).c_str();
}

inline int WebRequest(const string& method, const string& url, const string& headers, int timeout,
                      const Array<char>& data, Array<char>& answer, string&)
{
  if (!is_allowed) { last_error = 4014; return -1; }
  std::string address = utf8.to_bytes(url.text);
  int port = 0, path = 0;
  sscanf(address.c_str(), "http://127.0.0.1:%d%n", &port, &path);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int connection = socket(AF_INET, SOCK_STREAM, 0);
  timeval limit{timeout / 1000, 0};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  std::string request = utf8.to_bytes(method.text) + " " + address.substr(path) + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" +
                        "Connection: close\r\nContent-Length: " + std::to_string(data.size()) + "\r\n" +
                        utf8.to_bytes(headers.text) + "\r\n" + std::string(data.begin(), data.end());
  std::string response;
  char buffer[4096];
  if (connect(connection, (sockaddr*)&to, sizeof to) == 0 && write(connection, request.data(), request.size()) > 0)
    for (ssize_t count; (count = read(connection, buffer, sizeof buffer)) > 0;) response.append(buffer, count);
  close(connection);
  int status = 0;
  if (sscanf(response.c_str(), "HTTP/1.1 %d", &status) != 1) { last_error = 5203; return -1; }
  size_t body = response.find("\r\n\r\n");
  answer.assign(response.begin() + body + 4, response.end());
  return status;
}
