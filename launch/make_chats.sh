#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes small conversations whose answers keep a rule that can be counted, for configs/lora*.yaml.
#   launch/make_chats.sh [OUT_DIR]     default: corpora/chats
# chats.jsonl, chats-test.jsonl      questions; every answer is "Answer: ..." and ends with "[end]"
# stories.jsonl, stories-test.jsonl  beginnings of stories as plain text; every one goes on with "The name is NAME."
#                                    and ends with "The end.", for models without a chat template
# The test files hold 64 prompts that are in no training row, with the answer beside them, for orthant generate
# --prompts.  The same files every time.
set -euo pipefail
usage() { sed -n '3,/^set -/{/^set -/!s/^# \{0,1\}//p}' "$0"; }
case $#,${1:-} in
  *,-h | *,--help) usage; exit 0 ;;
  0, | 1,[!-]*) ;;
  *) usage >&2; exit 2 ;;
esac
out=${1:-corpora/chats}

animals=(cat dog bird fish frog bear duck mouse horse rabbit)
colors=(red blue green yellow pink white black brown)
names=(Lily Tom Ben Mia Sam Anna Max Sue Tim Jane)
places=(park garden house forest kitchen school)
tests=64 most=1200

# Rows are "prompt|answer"; nothing in them needs an escape in JSON.
questions() {
  local a b animal color name place
  for a in {1..20}; do for b in {1..20}; do echo "What is $a plus $b?|$((a + b))"; done; done
  for animal in "${animals[@]}"; do
    for color in "${colors[@]}"; do
      echo "I have a $color $animal. What color is it?|$color"
      echo "I have a $color $animal. What animal is it?|a $animal"
    done
  done
  for name in "${names[@]}"; do
    for place in "${places[@]}"; do echo "$name is in the $place. Where is $name?|in the $place"; done
  done
}
beginnings() {
  local name animal place color
  for name in "${names[@]}"; do
    for animal in "${animals[@]}"; do
      for place in "${places[@]}"; do
        for color in "${colors[@]:0:4}"; do
          echo "Once upon a time, $name saw a $color $animal in the $place.|$name"
        done
      done
    done
  done
}

# Sets rows to the lines of a function, in an order that only looks like chance.
shuffled() {
  local i j swap state=7
  mapfile -t rows < <("$1")
  for ((i = ${#rows[@]} - 1; i > 0; --i)); do
    state=$(((state * 1103515245 + 12345) % 2147483648))
    j=$(((state >> 8) % (i + 1)))
    swap=${rows[i]} rows[i]=${rows[j]} rows[j]=$swap
  done
}
# write NAME TRAINED ASKED: its two files; the last are printf formats of a prompt and an answer.
write() {
  local row
  for row in "${rows[@]:0:tests}"; do printf "$3\n" "${row%|*}" "${row#*|}"; done >"$out/$1-test.jsonl"
  for row in "${rows[@]:tests:most}"; do printf "$2\n" "${row%|*}" "${row#*|}"; done >"$out/$1.jsonl"
}

mkdir -p "$out"
user='{"role": "user", "content": "%s"}'
shuffled questions
write chats '{"messages": ['"$user"', {"role": "assistant", "content": "Answer: %s [end]"}]}' \
  '{"messages": ['"$user"'], "answer": "Answer: %s [end]"}'
shuffled beginnings
write stories '{"prompt": "%s", "completion": " The name is %s. The end."}' \
  '{"prompt": "%s", "answer": " The name is %s. The end."}'
echo "make_chats: $out: chats and stories, each with $tests rows for tests"
