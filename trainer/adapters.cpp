// SPDX-License-Identifier: Apache-2.0
#include "trainer/adapters.h"

#include <map>
#include <set>
#include <sstream>

#include "base/error.h"

namespace orthant {
namespace {

struct NamedSize {
  int64_t numel = 0;
  bool trains = false;
};

// The logical tensors of the whole model, on every rank.
std::map<std::string, NamedSize> all_tensors(const Role& role) {
  std::ostringstream own;
  for (const auto& parameter : role.store().all())
    for (const LogicalTensor& t : parameter->logical())
      own << t.name << ' ' << t.global_shape.numel() << ' ' << parameter->trainable() << '\n';
  std::map<std::string, NamedSize> all;
  for (const std::string& text : role.groups().world.gather_text(own.str())) {
    std::istringstream lines(text);
    std::string name;
    NamedSize size;
    while (lines >> name >> size.numel >> size.trains) all[name] = size;
  }
  return all;
}

}  // namespace

std::shared_ptr<const LoraRules> lora_rules(const RunConfig& config) {
  return config.lora.is_on() ? std::make_shared<const LoraRules>(config.lora) : nullptr;
}

std::function<bool(const std::string&)> trained_with(
    const std::shared_ptr<const LoraRules>& rules) {
  if (!rules) return {};
  return [rules](const std::string& name) {
    return is_adapter_tensor(name) || rules->saves(module_of(name));
  };
}

TrainedShare check_trained(const Role& role, const LoraRules* rules) {
  TrainedShare share;
  std::vector<std::string> modules;
  std::set<std::string> last_parts;
  for (const auto& [name, size] : all_tensors(role)) {
    share.all += size.numel;
    if (size.trains) share.trained += size.numel;
    if (is_adapter_tensor(name)) share.adapters += size.numel;
    modules.push_back(module_of(name));  // of an adapter: the module that it stands beside
    last_parts.insert(modules.back().substr(modules.back().rfind('.') + 1));
  }
  if (!rules) return share;
  const std::vector<std::string> unmatched = rules->unmatched(modules);
  if (unmatched.empty()) return share;
  std::string known;
  for (const std::string& part : last_parts) known += (known.empty() ? "" : ", ") + part;
  throw_error(ErrorKind::kConfig,
              concat(unmatched.front(), " names no module of the model; those end in ", known));
}

}  // namespace orthant
