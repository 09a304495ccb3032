// SPDX-License-Identifier: Apache-2.0
#include "launch/completion.h"

#include <algorithm>
#include <map>

#include "base/text.h"
#include "launch/cli_options.h"

namespace orthant {
namespace {

// The part that is the same for every list of commands.  Words that are done get a space behind
// them, as `complete -o nospace` leaves it to the script: none belongs behind "parallel." and "=".
constexpr const char* kScript =
    R"sh(# Completes orthant's commands, options, files, and key.path=value, in bash and in zsh.
if [[ -n ${ZSH_VERSION-} ]]; then autoload -U +X bashcompinit && bashcompinit; fi

_orthant_reply() {  # WORDS|FILES PREFIX BEGINNING
  local i
  if [[ $1 == FILES ]]; then
    local IFS=$'\n'
    COMPREPLY=($(compgen -P "$2" -f -- "$3"))
    if [[ -n ${BASH_VERSION-} ]]; then compopt -o filenames +o nospace 2>/dev/null; fi
    return 0
  fi
  COMPREPLY=($(compgen -P "$2" -W "$1" -- "$3"))
  for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do
    case ${COMPREPLY[i]} in *[.=]) ;; *) COMPREPLY[i]+=' ' ;; esac
  done
}

_orthant_values() {  # KEY, COMMAND OPTION or COMMAND #NUMBER of an argument: sets values
  values=''
  case $1 in
@VALUES@  esac
}

_orthant() {
  if [[ -n ${ZSH_VERSION-} ]]; then emulate -L ksh; fi
  local IFS=$' \t\n' line=${COMP_LINE:0:$COMP_POINT} command=${COMP_WORDS[1]-} i=2 count=0
  local current=${line##*[[:space:]]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local seconds='' options='' valued='' keys_at=none values='' prefix=''
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _orthant_reply '--help --version@COMMANDS@' '' "$current"
    return
  fi
  case $command in
@SECONDS@  esac
  if [[ -n $seconds ]]; then
    if ((COMP_CWORD == 2)); then
      _orthant_reply "--help$seconds" '' "$current"
      return
    fi
    command="$command ${COMP_WORDS[2]}" i=3
  fi
  case $command in
@OPTIONS@  esac
  case $current in
    *=*)  # A shell that takes = for the end of a word wants what is behind it alone.
      case ${COMP_WORDBREAKS-} in *=*) ;; *) prefix=${current%%=*}= ;; esac
      case $current in
        -*) _orthant_values "$command ${current%%=*}" ;;
        *) _orthant_values "${current%%=*}" ;;
      esac
      _orthant_reply "$values" "$prefix" "${current#*=}"
      return
      ;;
  esac
  case " $valued " in
    *" $previous "*)
      _orthant_values "$command $previous"
      _orthant_reply "$values" '' "$current"
      return
      ;;
  esac
  case $current in
    -*)
      _orthant_reply "$options" '' "$current"
      return
      ;;
  esac
  for (( ; i < COMP_CWORD; i++)); do
    case " $valued " in
      *" ${COMP_WORDS[i]} "*) i=$((i + 1)) ;;
      *) case ${COMP_WORDS[i]} in -*) ;; *) count=$((count + 1)) ;; esac ;;
    esac
  done
  if [[ $keys_at == none ]] || ((count < keys_at)); then
    _orthant_values "$command #$count"
    _orthant_reply "${values:-FILES}" '' "$current"
  else
    case $current in
      *.*) _orthant_reply '@KEYS@' '' "$current" ;;
      *) _orthant_reply '@HEADS@' '' "$current" ;;
    esac
  fi
}
complete -o nospace -F _orthant orthant
)sh";

// `name) action ;;` of a case of the shell.
std::string case_line(const std::string& name, const std::string& action) {
  return concat("    '", name, "') ", action, " ;;\n");
}
std::string value_line(const std::string& name, const std::string& values) {
  return values.empty() ? "" : case_line(name, concat("values='", values, "'"));
}

// A text without choices may be a file, as likely as not.
std::string values_of(const TextRule& rule) {
  std::string text;
  for (const std::string& choice : rule.choices) text += (text.empty() ? "" : " ") + choice;
  return text.empty() ? "FILES" : text;
}

// What a command declares.
class CommandWords : public Options {
 public:
  explicit CommandWords(const Command& command) : command_(command.name) {
    add_flag("-h,--help");
    command.declare(*this);
  }
  std::string option_line() const {
    return case_line(command_, concat("options='", options_, "' valued='", valued_, "'", keys_at_));
  }
  const std::string& value_lines() const { return value_lines_; }

  void flag(const std::string& names, bool&, const std::string&, bool) override { add_flag(names); }
  void integer(const std::string& names, int64_t&, IntBounds, const std::string&) override {
    add(names, "");
  }
  void real(const std::string& names, double&, RealBounds, const std::string&) override {
    add(names, "");
  }
  void text(const std::string& names, std::string&, TextRule rule, const std::string&) override {
    add(names, values_of(rule));
  }
  void texts(const std::string& names, std::vector<std::string>&, TextRule rule,
             const std::string&) override {
    add(names, values_of(rule));
  }
  void texts(const std::string& names, std::vector<std::string>&, Each,
             const std::string&) override {
    add(names, "");
  }
  void reals(const std::string& names, std::vector<double>&, RealBounds,
             const std::string&) override {
    add(names, "");
  }
  void fields(const FieldList& list) override { fields_as_options(*this, list); }
  void require(const std::string&) override {}
  void needs(const std::string&, const std::string&) override {}
  void excludes(const std::string&, const std::string&) override {}

 private:
  void add_flag(std::string names) {
    std::replace(names.begin(), names.end(), ',', ' ');
    options_ += (options_.empty() ? "" : " ") + names;
  }
  void add(const std::string& names, const std::string& values) {
    if (names.starts_with('-')) {
      add_flag(names);
      for (size_t at = 0; at < names.size();) {
        const size_t end = std::min(names.find(',', at), names.size());
        const std::string name = names.substr(at, end - at);
        valued_ += (valued_.empty() ? "" : " ") + name;
        value_lines_ += value_line(concat(command_, " ", name), values);
        at = end + 1;
      }
      return;
    }
    if (names == "overrides") keys_at_ = concat(" keys_at=", num_arguments_);
    value_lines_ += value_line(concat(command_, " #", num_arguments_++), values);
  }

  std::string command_, options_, valued_, value_lines_, keys_at_;
  int num_arguments_ = 0;
};

// The keys of a configuration: all of them, and those of the first level with its blocks.
class KeyWords : public FieldVisitor {
 public:
  explicit KeyWords(std::string path = "") : path_(std::move(path)) {}
  std::string heads, keys, value_lines;

  void field(std::string_view name, bool&, std::string_view) override { add(name, "true false"); }
  void field(std::string_view name, int64_t&, IntBounds, std::string_view) override {
    add(name, "");
  }
  void field(std::string_view name, double&, RealBounds, std::string_view) override {
    add(name, "");
  }
  void field(std::string_view name, std::string&, TextRule rule, std::string_view) override {
    add(name, values_of(rule));
  }
  void field(std::string_view name, std::vector<double>&, RealBounds, std::string_view) override {
    add(name, "");
  }
  void field(std::string_view name, std::vector<int64_t>&, IntBounds, std::string_view) override {
    add(name, "");
  }
  void block(std::string_view name, std::string_view,
             const std::function<void(FieldVisitor&)>& fields) override {
    KeyWords inner(concat(path_, name, "."));
    fields(inner);
    heads += " " + inner.path_;
    keys += inner.keys;
    value_lines += inner.value_lines;
  }
  void list(std::string_view name, std::string_view, size_t, const std::function<void(size_t)>&,
            const std::function<void(size_t, FieldVisitor&)>&) override {
    add(name, "FILES");  // a plain text stands for an item
  }

 private:
  void add(std::string_view name, const std::string& values) {
    const std::string key = concat(path_, name);
    heads += concat(" ", key, "=");
    keys += concat(" ", key, "=");
    value_lines += value_line(key, values);
  }
  std::string path_;
};

}  // namespace

std::string completion_script(const std::vector<Command>& commands, const FieldList& fields) {
  KeyWords keys;
  fields(keys);
  std::string heads, seconds, options, values = keys.value_lines;
  std::map<std::string, std::string> groups;
  for (const Command& command : commands) {
    const size_t space = command.name.find(' ');
    const std::string head = command.name.substr(0, space);
    if (!groups.contains(head)) heads += " " + head;
    if (space != std::string::npos) groups[head] += command.name.substr(space);
    const CommandWords words(command);
    options += words.option_line();
    values += words.value_lines();
  }
  for (const auto& [head, words] : groups)
    seconds += case_line(head, concat("seconds='", words, "'"));
  std::string script = kScript;
  const std::pair<std::string, std::string> parts[] = {
      {"@COMMANDS@", heads}, {"@SECONDS@", seconds},  {"@OPTIONS@", options},
      {"@VALUES@", values},  {"@HEADS@", keys.heads}, {"@KEYS@", keys.keys}};
  for (const auto& [mark, text] : parts) script.replace(script.find(mark), mark.size(), text);
  return script;
}

}  // namespace orthant
