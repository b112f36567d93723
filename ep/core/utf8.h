// Texts that come from files: only UTF-8 may reach messages, which every language above decodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fastep {

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
inline bool IsUtf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i++]);
    if (lead < 0x80) continue;
    if (lead < 0xc2 || lead > 0xf4) return false;
    // Lead bytes at the ends of a range narrow the first byte that follows.
    uint8_t lo = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t hi = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    for (int more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3; more > 0; --more, ++i, lo = 0x80, hi = 0xbf) {
      if (i == text.size() || static_cast<uint8_t>(text[i]) < lo || static_cast<uint8_t>(text[i]) > hi) return false;
    }
  }
  return true;
}

}  // namespace fastep
