#!/usr/bin/env bash
# Installs what the tests speak to, where it is missing: Debian's Postfix (also
# smtp-source and smtp-sink), swaks, strace, openssl. Exim excludes Postfix as
# a package, so it is unpacked beside it, not installed. Needs root only when
# something is missing.
set -euo pipefail
dest=${POSTERN_TEST_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/postern-test-peers}
need=()
[ -x /usr/lib/postfix/sbin/master ] || need+=(postfix)
command -v swaks >/dev/null || need+=(swaks libnet-ssleay-perl)
perl -MNet::SSLeay -e 1 2>/dev/null || need+=(libnet-ssleay-perl)
command -v strace >/dev/null || need+=(strace)
command -v openssl >/dev/null || need+=(openssl)
command -v unbound >/dev/null || need+=(unbound)
exim=$dest/exim/usr/sbin/exim4
# Unpacked, Exim has no package script that makes the user it was built for.
if ! id Debian-exim >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin Debian-exim
fi
if [ ${#need[@]} -eq 0 ] && [ -x "$exim" ]; then exit 0; fi
command -v apt-get >/dev/null || { echo "missing: ${need[*]} exim4 (no apt-get here: install them by hand)" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Services must not start: the tests run their own instances on loopback ports.
made=
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; made=1
fi
trap '[ -z "$made" ] || rm -f /usr/sbin/policy-rc.d' EXIT
[ ${#need[@]} -eq 0 ] || apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
if [ ! -x "$exim" ]; then
  mkdir -p "$dest/debs" "$dest/exim"
  apt-get install -y -qq --no-install-recommends libidn12 libgnutls-dane0 libevent-2.1-7 >/dev/null
  (cd "$dest/debs" && apt-get download -qq exim4-daemon-light && dpkg-deb -x exim4-daemon-light_*.deb "$dest/exim")
fi
