#!/usr/bin/env bash
# Installs what the tests need and this machine lacks, with apt-get: a PostgreSQL
# server (15 or later; only its programs are used, the tests start their own), a
# C compiler for the race detector, curl, and for the tests against programs of
# others (tests/interop) Node.js and HAProxy. When all is there it does nothing and
# asks nobody.
set -euo pipefail
cd "$(dirname "$0")/.."

have() { command -v "$1" >/dev/null 2>&1; }

have_postgres() {
  local bin
  for bin in /usr/lib/postgresql/*/bin/postgres "$(command -v postgres || true)"; do
    if [[ -x "$bin" && -x "${bin%/*}/initdb" ]] && (($("$bin" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/') >= 15)); then
      return 0
    fi
  done
  return 1
}

missing=()
have_postgres || missing+=(postgresql)
have "${CC:-gcc}" || missing+=(gcc libc6-dev)
have curl || missing+=(curl ca-certificates)
if [[ -d tests/interop ]]; then
  have node || missing+=(nodejs)
  have npm || missing+=(npm)
  have haproxy || [[ -x /usr/sbin/haproxy ]] || missing+=(haproxy)
fi
if ((${#missing[@]} == 0)); then
  exit 0
fi

echo "setup: missing: ${missing[*]}"
if ! have apt-get; then
  echo "setup: there is no apt-get here; please install them yourself" >&2
  exit 1
fi
root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

# Debian would make a cluster and start it, and other servers too. Nothing of ours
# may listen because a test was run, so that is turned off while the packages go
# in; an installation that is there already is left as it is.
quiet=/etc/postgresql-common/createcluster.d/cambist-setup.conf policy=/usr/sbin/policy-rc.d made=
if [[ ! -e "$policy" ]]; then
  made=$policy
fi
trap 'root rm -f "$quiet" $made' EXIT
root mkdir -p "${quiet%/*}"
echo 'create_main_cluster = false' | root tee "$quiet" >/dev/null
if [[ -n "$made" ]]; then
  printf '#!/bin/sh\nexit 101\n' | root tee "$policy" >/dev/null
  root chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
root apt-get update -qq
root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}"

have_postgres || { echo "setup: the PostgreSQL of this distribution is older than 15" >&2; exit 1; }
