// Writes JSON (RFC 8259) piece by piece; commas come by themselves.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fastep {

class JsonWriter {
 public:
  void BeginObject() { Open('{'); }
  void EndObject() { Close('}'); }
  void BeginArray() { Open('['); }
  void EndArray() { Close(']'); }
  // Of the value that is written next.
  void Key(std::string_view key);

  void Value(std::string_view text);
  void Value(const char* text) { Value(std::string_view(text)); }
  void Value(int64_t number);
  void Value(double number);  // null unless it is finite
  void Value(bool flag);
  template <class T>
  void Value(const std::vector<T>& values) {
    BeginArray();
    for (const T& value : values) Value(value);
    EndArray();
  }
  template <class T>
  void Field(std::string_view key, const T& value) {
    Key(key);
    Value(value);
  }

  const std::string& text() const { return text_; }

 private:
  void Separate();
  void Open(char bracket);
  void Close(char bracket);

  std::string text_;
};

}  // namespace fastep
