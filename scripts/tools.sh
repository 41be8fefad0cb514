# shellcheck shell=bash
# Shared by the scripts of this repository: messages, root's rights, and the tools fetched into target/tools.
# To be sourced from the repository's root.

tools=$PWD/target/tools
PATH=$tools/bin:$PATH:/usr/sbin:/sbin
# A toolchain made by rustup's installer in a shell that has not read its profile yet.
if [ -d "${CARGO_HOME:-$HOME/.cargo}/bin" ]; then PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH; fi
export PATH

say() { printf '==> %s\n' "$*" >&2; }

# die EXIT-CODE MESSAGE
die() {
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo --preserve-env=DEBIAN_FRONTEND "$@"
  else
    die 1 "this needs root: run it as root, or install sudo ($*)"
  fi
}
