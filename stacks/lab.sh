# shellcheck shell=bash disable=SC2034,SC2154
# Hosts on one wire, each in a network namespace of its own, for checks. To be sourced after lib.sh.

# Where hosts see each other, and the outside sees them.
wire=10.77.0

lab=corten-lab-$$
lab_places=()
declare -A agents=() tokens=()

# make_lab PLACE...: hosts by their names, the server's first as h1; `out` is the outside, which has the last address.
make_lab() {
  local index=0 place
  lab_places=("$@")
  first=$(hostname | tr '[:upper:]' '[:lower:]')
  ip netns add "$lab-wire"
  ip -n "$lab-wire" link add br0 type bridge
  ip -n "$lab-wire" link set br0 up
  for place; do
    index=$((index + 1))
    ip netns add "$lab-$place"
    ip link add eth0 netns "$lab-$place" type veth peer name "$place" netns "$lab-wire"
    ip -n "$lab-wire" link set "$place" master br0 up
    ip -n "$lab-$place" link set lo up
    ip -n "$lab-$place" link set eth0 up
    ip -n "$lab-$place" addr add "$wire.$([ "$place" = out ] && echo 254 || echo $index)/24" dev eth0
    [ "$place" = out ] || ip -n "$lab-$place" route add default via "$wire.254"
  done
  ip link add "ctn$$" type veth peer name self netns "$lab-wire"
  ip -n "$lab-wire" link set self master br0 up
  ip link set "ctn$$" up
  ip addr add "$wire.250/24" dev "ctn$$"
}

remove_lab() {
  local place
  ip link del "ctn$$" 2>/dev/null
  for place in "${lab_places[@]}" wire; do ip netns del "$lab-$place" 2>/dev/null; done
}

# at PLACE COMMAND...: there.
at() {
  local place=$1
  shift
  nsenter --net="/run/netns/$lab-$place" "$@"
}

# The command is run where the cloud's address is.
corten() { at h1 "$CORTEN" "$@"; }

# join NAME [COMMAND...]: starts a host's agent in the background, as the last argument of a command where one is given.
# Not by `at`: of a function in the background bash tells the number of a shell, which ends without what it started.
join() {
  local name=$1
  shift
  nsenter --net="/run/netns/$lab-$name" "$@" "$CORTEN" join "https://$listen" "${tokens[$name]}" --name "$name" --data "$scratch/$name" >>"$scratch/$name.log" 2>&1 &
  agents[$name]=$!
}

host_is() { corten get hosts "$1" | grep -qE -- "$2"; }

# token_for NAME: lets a host join once.
token_for() {
  expect "a token for $1" corten host token --quiet
  tokens[$1]=$out
}

# hosts_leave NAME...
hosts_leave() {
  local name
  for name; do
    expect "$name leaves" corten down --data "$scratch/$name" --purge
    expect "nothing of $name is left" no_process_names "$scratch/$name"
    expect "its host object goes" corten rm "host/$name"
  done
}

# join_second_wire PLACE...: a device eth1 without addresses in each, all on one wire that passes tags on.
join_second_wire() {
  local place index=0
  ip -n "$lab-wire" link add br1 type bridge
  ip -n "$lab-wire" link set br1 up
  for place; do
    index=$((index + 1))
    ip link add eth1 netns "$lab-$place" type veth peer name "data$index" netns "$lab-wire"
    ip -n "$lab-wire" link set "data$index" master br1 up
    ip -n "$lab-$place" link set eth1 up
  done
}

# no_bridges PLACE: no bridge and no VLAN of a subnet is there.
no_bridges() { ! ip -n "$lab-$1" -o link | grep -E ': c[bv][0-9a-f]{5}'; }

# pings NAME ADDRESS: a guest reaches an address.
pings() { corten exec "$1" -- ping -c 1 -W 3 "$2"; }
