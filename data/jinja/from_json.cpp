// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/from_json.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/jinja/render.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja {
namespace {

using nlohmann::ordered_json;

constexpr int kMaxJsonDepth = 64;

class Converter {
 public:
  Converter(Render& render, const std::string& what) : render_(render), what_(what) {}

  Value convert(const ordered_json& json, int depth = 1) {
    ORTHANT_CHECK(depth <= kMaxJsonDepth, kData, what_, ": nested deeper than ", kMaxJsonDepth,
                  " levels");
    switch (json.type()) {
      case ordered_json::value_t::null:
        return Value::none();
      case ordered_json::value_t::boolean:
        return Value::boolean(json.get<bool>());
      case ordered_json::value_t::number_integer:
        return Value::integer(json.get<int64_t>());
      case ordered_json::value_t::number_unsigned:
        return convert_unsigned(json.get<uint64_t>());
      case ordered_json::value_t::number_float:
        return Value::real(json.get<double>());
      case ordered_json::value_t::string:
        return text(json.get_ref<const std::string&>());
      case ordered_json::value_t::array: {
        std::vector<Value> items;
        for (const ordered_json& item : json) items.push_back(convert(item, depth + 1));
        return render_.list(std::move(items));
      }
      case ordered_json::value_t::object: {
        std::vector<std::pair<Value, Value>> items;
        for (const auto& [key, value] : json.items())
          items.emplace_back(text(key), convert(value, depth + 1));
        return render_.dict(std::move(items));
      }
      default:
        throw Error(ErrorKind::kData, concat(what_, ": binary data is no JSON"));
    }
  }

 private:
  Value convert_unsigned(uint64_t value) {
    ORTHANT_CHECK(value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()), kData, what_,
                  ": integer ", value, " does not fit 64 bits");
    return Value::integer(static_cast<int64_t>(value));
  }
  Value text(const std::string& bytes) {
    ORTHANT_CHECK(whole_text_is_utf8(bytes), kData, what_, ": a text is not UTF-8: '",
                  valid_utf8(bytes.substr(0, 40)), "'");
    return render_.text(bytes);
  }

  Render& render_;
  const std::string& what_;
};

}  // namespace

Value from_json(Render& render, const ordered_json& json, const std::string& what) {
  return Converter(render, what).convert(json);
}

}  // namespace orthant::jinja
