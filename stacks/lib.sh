# shellcheck shell=bash
# What every stack's check shares: a private cloud, assertions, and a clean end. To be sourced.
#
# A check prints one line per assertion, `ok WHAT` or `not ok WHAT` (then the output that was wrong, indented),
# or `skip WHAT: WHY`. It exits with 1 when any assertion failed. Nothing but its own temporary folder is
# touched, and the folder goes away with the cloud.

set -u
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CORTEN=${CORTEN:-$repository/target/release/corten}

# How long a slow machine without hardware virtualization may take for one step of a guest, in seconds.
# shellcheck disable=SC2034
guest_seconds_max=120

scratch=
data=
listen=
failures=0
out=

# --- the cloud ---------------------------------------------------------------------------------------------------

# corten ARGUMENTS...: the command, as a user has it on PATH.
corten() { "$CORTEN" "$@"; }

# start_cloud [ADDRESS]: a cloud of its own for this check, on loopback or that address; it ends with the check, however
# that ends.
start_cloud() {
  [ -x "$CORTEN" ] || fatal "no binary at $CORTEN: build it, or name it in CORTEN"
  [ "$(id -u)" = 0 ] || fatal "a check needs root"
  make_scratch
  data=$scratch/data
  listen=${1:-127.0.0.1}:$(free_port)
  corten up --detach --data "$data" --listen "$listen" >"$scratch/up.log" 2>&1 ||
    fatal "the cloud does not start: $(cat "$scratch/up.log")"
  use_env corten
}

# Removes guests, server and data. Says whether it left anything behind.
stop_cloud() {
  [ -n "$data" ] || return 0
  local tag
  tag=$(cloud_tag "$data")
  expect "down --purge ends the cloud" corten down --data "$data" --purge
  expect "no process of the cloud is left" no_process_names "$data"
  expect "no mount of the cloud is left" no_mount_names "$data"
  expect "no file of the cloud is left" [ ! -e "$data" -a ! -e "/run/corten/$tag" ]
  expect "no control group of the cloud is left" no_cgroup_names "corten-$tag"
  kill_own_processes
  data=
}

# cloud_tag DIR: the eight digits by which the clouds of one machine are told apart (FNV-1a of the folder).
cloud_tag() {
  local hash=$((0x811c9dc5)) index code
  for ((index = 0; index < ${#1}; index++)); do
    printf -v code %d "'${1:index:1}"
    hash=$((((hash ^ code) * 0x01000193) & 0xffffffff))
  done
  printf '%08x' "$hash"
}

# use_env corten|aws|kubectl: what a user does with `corten env`.
use_env() {
  local exports
  # What an earlier cloud's exports said counts for more than the folder.
  [ "$1" != corten ] || unset CORTEN_ENDPOINT CORTEN_CA CORTEN_TOKEN CORTEN_CLIENT_CERT CORTEN_CLIENT_KEY CORTEN_DATA
  exports=$(corten env "$1" --data "$data") || fatal "corten env $1 fails"
  eval "$exports"
}

make_scratch() {
  [ -z "$scratch" ] || return 0
  # Short: paths of unix sockets end at 107 bytes.
  scratch=$(mktemp -d /tmp/corten.XXXXXX)
  # Guests run as users of their own and must reach their files in the cloud's folder below.
  chmod 711 "$scratch"
  export HOME=$scratch/home
  mkdir "$HOME"
  trap finish EXIT
  trap 'exit 143' TERM
  trap 'exit 130' INT
}

# The end of every check: the cloud goes, whatever happened, and the exit code tells.
finish() {
  local rc=$?
  trap - EXIT
  if [ -n "$data" ]; then
    [ "$failures" = 0 ] || show_server_log
    corten down --data "$data" --purge >/dev/null 2>&1
    kill_own_processes
  fi
  at_end
  [ -z "$scratch" ] || rm -rf --one-file-system "$scratch"
  [ "$rc" = 0 ] && [ "$failures" = 0 ] || exit 1
}

# What a check made beside its cloud; to be redefined by it. Called once, after the cloud is gone.
at_end() { :; }

show_server_log() {
  find "$data" -maxdepth 2 -name '*.log' -size +0 -print -exec tail -n 30 {} \; 2>/dev/null | sed 's/^/    /' >&2
}

# What a broken cloud left running: only processes that name this check's own folder.
kill_own_processes() {
  local pid
  for pid in $(processes_that_name "$data"); do kill -9 "$pid" 2>/dev/null; done
}

free_port() {
  local port
  while port=$((20000 + RANDOM % 12000)); do
    [ -n "$(ss -Htln "sport = :$port")" ] || break
  done
  echo "$port"
}

# --- assertions --------------------------------------------------------------------------------------------------

ok() { printf 'ok %s\n' "$1"; }

not_ok() {
  ((failures += 1))
  printf 'not ok %s\n' "$1"
  [ -z "${2:-}" ] || printf '%s\n' "$2" | head -n 25 | sed 's/^/    /'
}

skip() { printf 'skip %s: %s\n' "$1" "$2"; }

fatal() {
  not_ok "$1"
  exit 1
}

# expect WHAT COMMAND...: it succeeds. Its output stays in $out.
expect() { expect_code 0 "$@"; }

# expect_code CODE WHAT COMMAND...: it exits with exactly this code.
expect_code() {
  local wanted=$1 what=$2 rc=0
  shift 2
  out=$("$@" 2>&1) || rc=$?
  if [ "$rc" = "$wanted" ]; then ok "$what"; else not_ok "$what" "exit code $rc, not $wanted: $out"; fi
}

# expect_failure WHAT COMMAND...: it fails, with whichever code its program has for that.
expect_failure() {
  local what=$1
  shift
  if out=$("$@" 2>&1); then not_ok "$what" "it succeeded: $out"; else ok "$what"; fi
}

# says WHAT PATTERN: the output of the last command has a line that matches the extended regular expression.
says() {
  if grep -qE -- "$2" <<<"$out"; then ok "$1"; else not_ok "$1" "no line matches $2 in: $out"; fi
}

# says_not WHAT PATTERN
says_not() {
  if grep -qE -- "$2" <<<"$out"; then not_ok "$1" "a line matches $2 in: $out"; else ok "$1"; fi
}

# equals WHAT EXPECTED ACTUAL
equals() {
  if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected: $2"$'\n'"actual:   $3"; fi
}

# becomes SECONDS WHAT COMMAND...: it succeeds within that time.
becomes() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until out=$("$@" 2>&1); do
    if [ $SECONDS -ge $deadline ]; then
      not_ok "$what" "not within the time given: $* : $out"
      return 1
    fi
    sleep 0.2
  done
  ok "$what"
}

# matches PATTERN COMMAND...: for `becomes`.
matches() {
  local pattern=$1 text
  shift
  text=$("$@" 2>&1)
  printf '%s\n' "$text"
  grep -qE -- "$pattern" <<<"$text"
}

# phase_is NAME PHASE
phase_is() { [ "$(corten get instance "$1" -o json | jq -r .status.phase)" = "$2" ]; }

# gone NAME: there is no such instance.
gone() {
  corten get instance "$1" >/dev/null 2>&1
  [ $? = 3 ]
}

# address_of NAME [NUMBER] [PROJECT]
address_of() { corten get instance "$1" ${3:+--project "$3"} -o json | jq -r ".status.addresses[${2:-0}]"; }

uid_of() { corten get instance "$1" -o json | jq -r .metadata.uid; }

# A number the guest's kernel draws at every boot.
boot_id() { timeout 30 "$CORTEN" ssh "$1" -- cat /proc/sys/kernel/random/boot_id 2>/dev/null | tr -d '\r'; }

# --- facts of the host -------------------------------------------------------------------------------------------

# Process ids whose command line names TEXT, this check's own shells aside.
processes_that_name() {
  local dir
  for dir in /proc/[0-9]*; do
    [ "${dir#/proc/}" != $$ ] && [ "${dir#/proc/}" != "$BASHPID" ] || continue
    # A process that ends while we look has no command line any more.
    if tr '\0' ' ' 2>/dev/null <"$dir/cmdline" | grep -qF -- "$1"; then echo "${dir#/proc/}"; fi
  done 2>/dev/null
}

no_process_names() {
  local pids
  pids=$(processes_that_name "$1")
  [ -z "$pids" ] || { ps -o pid,args -p "$(tr '\n' ',' <<<"$pids" | sed 's/,$//')"; return 1; }
}

# daemons DIR: the processes of this command that serve the cloud or the host in DIR, told from guests by their program.
daemons() {
  local pid
  for pid in $(processes_that_name "$1"); do
    case "$(readlink "/proc/$pid/exe" 2>/dev/null)" in
      "$(readlink -f "$CORTEN")"*) case "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" in *' up '* | *' join '*) echo "$pid" ;; esac ;;
    esac
  done
}

no_daemons() { [ -z "$(daemons "$1")" ]; }

# guest_processes UID: every process in the control groups of an instance. Without one, none: an empty word is in every
# line, and whoever kills what is found would kill everything.
guest_processes() { [ "${#1}" -ge 8 ] && grep -lF -- "$1" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3; }

# lives UID: those processes with the times at which they began (proc(5), field 22): together they identify them.
lives() {
  local pid
  for pid in $(guest_processes "$1"); do
    sed "s/^\([0-9]*\) .*) /\1 /" "/proc/$pid/stat" 2>/dev/null | awk '{ print $1, $21 }'
  done | sort
}

# traces UID...: whatever is left of instances: processes, control groups, mounts, files.
traces() {
  local uid
  for uid; do
    guest_processes "$uid" | sed 's/^/process /'
    find /sys/fs/cgroup -type d -name "*$uid*" 2>/dev/null
    grep -F -- "$uid" /proc/self/mountinfo
    find "$data" /run/corten -name "*$uid*" 2>/dev/null
  done
}

no_traces() { [ -z "$(traces "$@" | head -n 20 | tee /dev/stderr)" ]; }

no_mount_names() { ! grep -F -- "$1" /proc/self/mountinfo; }

# No control group carries NAME.
no_cgroup_names() { [ -z "$(find /sys/fs/cgroup -type d -name "*$1*" -print -quit 2>/dev/null | tee /dev/stderr)" ]; }

no_file_names() { [ -z "$(find "$1" -name "*$2*" -print -quit 2>/dev/null | tee /dev/stderr)" ]; }
