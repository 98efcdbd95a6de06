#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME (default 10s). FUZZBUDGET, in seconds, caps
# the sum: with many targets each gets its share, but never under two seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go} each=${FUZZTIME:-10s}

targets=()
for dir in $(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r dirname | sort -u); do
  listed=$("$go" test -list '^Fuzz' "$dir")
  while read -r name; do
    targets+=("$dir $name")
  done < <(grep '^Fuzz' <<<"$listed")
done

if [[ -n "${FUZZBUDGET:-}" && "$each" =~ ^([0-9]+)s$ ]] && ((${#targets[@]} > 0)); then
  share=$((FUZZBUDGET / ${#targets[@]}))
  ((share >= 2)) || share=2
  ((share >= BASH_REMATCH[1])) || each=${share}s
fi
echo "fuzz: ${#targets[@]} targets, $each each"

failed=0 log=$(mktemp)
trap 'rm -f "$log"' EXIT
for target in "${targets[@]}"; do
  read -r dir name <<<"$target"
  echo "--- $dir $name"
  if "$go" test -run '^$' -fuzz "^$name\$" -fuzztime "$each" "$dir" 2>&1 | tee "$log" | grep -v ' new interesting: '; then
    continue
  fi
  # A worker that is busy when the time is up is reported as a failure of the
  # target, without an input. That is not a finding.
  if grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then
    continue
  fi
  failed=1
done
exit "$failed"
