# shellcheck shell=bash
# Instances that go from host to host with their volumes, for checks of pools that hosts share. To be sourced after lab.sh;
# `hosts` are those on which there is one.

# The lease, its margin and the time for fencing, and the time in which a slow machine notices.
fenced_seconds_max=90

host_of() { corten get instance "$1" -o json | jq -r .status.host; }

runs_on() { phase_is "$1" Running && [ "$(host_of "$1")" = "$2" ]; }

# host_pool POOL HOST: the pool as the host has it: `here`, or why not.
host_pool() {
  corten get host "$2" -o json | jq -r --arg pool "$1" \
    '.status.pools[]? | select(.name == $pool) | if .unavailable then .unavailable else "here" end'
}

# run_on HOST NAME OPTION...: bound to that host by nothing but the moment.
run_on() {
  local host=$1 name=$2 other
  shift 2
  for other in "${hosts[@]}"; do [ "$other" = "$host" ] || corten host cordon "$other" >/dev/null; done
  expect "an instance on $host: $name" corten run --name "$name" --wait --timeout 180s "$@"
  for other in "${hosts[@]}"; do corten host uncordon "$other" >/dev/null; done
  equals "it is there" "$host" "$(host_of "$name")"
}

# machine NAME HOST [OPTION...]
machine() {
  local name=$1 host=$2
  shift 2
  run_on "$host" "$name" --image tiny --type tiny "$@"
  becomes "$guest_seconds_max" "it answers" corten ssh "$name" -- true
}

# kill_guest UID: all of its processes, as when the host's power is cut.
kill_guest() {
  local pid
  for pid in $(guest_processes "$1"); do kill -9 "$pid" 2>/dev/null; done
}
