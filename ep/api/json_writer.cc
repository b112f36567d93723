#include "api/json_writer.h"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace fastep {
namespace {

// Independent of the locale.
template <class T>
std::string Text(T number) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, number);
  return error == std::errc() ? std::string(text, end) : "null";
}

void AppendEscaped(char c, std::string& text) {
  const auto byte = static_cast<unsigned char>(c);
  if (c == '"' || c == '\\') {
    text += {'\\', c};
  } else if (byte < 0x20) {
    char code[8];
    std::snprintf(code, sizeof code, "\\u%04x", byte);
    text += code;
  } else {
    text += c;
  }
}

}  // namespace

// A value follows another one unless it is the first of its array or object, or stands behind its key.
void JsonWriter::Separate() {
  const char last = text_.empty() ? '[' : text_.back();
  if (last != '[' && last != '{' && last != ':') text_ += ',';
}

void JsonWriter::Open(char bracket) {
  Separate();
  text_ += bracket;
}

void JsonWriter::Close(char bracket) { text_ += bracket; }

void JsonWriter::Key(std::string_view key) {
  Value(key);
  text_ += ':';
}

void JsonWriter::Value(std::string_view text) {
  Separate();
  text_ += '"';
  for (const char c : text) AppendEscaped(c, text_);
  text_ += '"';
}

void JsonWriter::Value(int64_t number) {
  Separate();
  text_ += Text(number);
}

void JsonWriter::Value(double number) {
  Separate();
  text_ += std::isfinite(number) ? Text(number) : "null";
}

void JsonWriter::Value(bool flag) {
  Separate();
  text_ += flag ? "true" : "false";
}

}  // namespace fastep
