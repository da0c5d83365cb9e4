#!/usr/bin/env bash
# Runs the notebooks and a part of the tests with the Python of Debian unstable, in a chroot below build/:
#     tests/anywhere/python_versions.sh FOLDER [pytest arguments ...]
# FOLDER is made on first use (some minutes, 700 MB) and used again. Needs root, debootstrap, and Debian's packages and
# PyPI in reach; where one of these is missing it says so and exits with 77, as skipped tests of other tools do.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
chroot="${1:?name the folder of the chroot}"
shift
suite=unstable
mirror="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"

skip() { echo "Not run with the Python of Debian $suite: $*" >&2; exit 77; }
[ "$(id -u)" = 0 ] || skip "this needs root."
command -v debootstrap >/dev/null || skip "debootstrap is not installed (apt-get install debootstrap)."
command -v unshare >/dev/null || skip "unshare is not installed (apt-get install util-linux)."
unshare --mount --pid --fork true 2>/dev/null || skip "this machine forbids private mounts."

mkdir -p "$(dirname "$chroot")"
if [ ! -e "$chroot/made" ]; then
  rm -rf --one-file-system "$chroot"
  packages=ca-certificates,git,make,openssl,python3,python3-venv,swtpm
  log="$chroot.log"
  debootstrap --variant=minbase --include="$packages" "$suite" "$chroot" "$mirror" >"$log" 2>&1 || {
    tail -n 5 "$log" >&2
    rm -rf --one-file-system "$chroot"
    skip "debootstrap could not make $chroot from $mirror; the reason stands above."
  }
  touch "$chroot/made"
fi

# everything below has mounts and processes of its own, which go with this process, however it ends
export chroot root
exec unshare --mount --propagation private --pid --fork --kill-child bash -euo pipefail -c '
  mkdir -p "$chroot/project"
  mount -t proc proc "$chroot/proc"
  mount --rbind /dev "$chroot/dev"
  mount -t tmpfs tmpfs "$chroot/tmp"
  cp -L /etc/resolv.conf "$chroot/etc/resolv.conf" 2>/dev/null || true
  # a machine behind a proxy with an authority of its own knows it here
  cp -L /etc/ssl/certs/ca-certificates.crt "$chroot/etc/ssl/certs/ca-certificates.crt" 2>/dev/null || true

  # the project as it stands, committed or not, on top of what an earlier run left of its environment
  find "$chroot/project" -mindepth 1 -maxdepth 1 -not -name .venv -exec rm -rf {} +
  (cd "$root" && git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -cf - -T - 2>/dev/null) \
    | tar -xf - -C "$chroot/project"
  exec chroot "$chroot" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    sh -euc "
      cd /project
      git init -q . && git add -A >/dev/null
      make -s setup
      .venv/bin/python -c \"import platform; print(\\\"Python\\\", platform.python_version())\"
      .venv/bin/python -m helpers.runner tutorial --output build
      exec .venv/bin/python -X dev -m pytest -q -p no:cacheprovider \"\$@\"
    " sh "$@"
' bash "$@"
