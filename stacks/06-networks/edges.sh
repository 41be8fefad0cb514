# shellcheck shell=bash
# What crosses the edge of a subnet, cards that come and go while a guest runs, and what DHCP tells. Read by `check`,
# whose containers `one` and `two` and machine `machine` run.

edges() {
  expect "a subnet with guests of its own" corten apply -f - <<END
apiVersion: network.corten.dev/v1
kind: Subnet
metadata: {name: edge}
spec: {vpc: default, cidr: 10.0.64.0/24}
---
$(at_the_edge inner)
---
$(at_the_edge beside)
END
  becomes 30 "one of them" phase_is inner Running
  becomes 30 "and another" phase_is beside Running
  inner=$(address_of inner)
  beside=$(address_of beside)
  expect "without an ACL everything crosses its edge" corten exec one -- ping -c 1 -W 2 "$inner"
  acls
  cards
  dhcp_options
  expect "they go" corten rm inner beside
}

at_the_edge() {
  cat <<END
apiVersion: compute.corten.dev/v1
kind: Instance
metadata: {name: $1}
spec:
  isolation: namespace
  networks: [{subnet: edge}]
  payload: {containers: {containers: [{name: main, image: busybox, args: [httpd, -f, -p, "80", -h, /etc]}]}}
END
}

# an_acl RULE...: the subnet's edge lets through what these say.
an_acl() {
  printf 'apiVersion: network.corten.dev/v1\nkind: NetworkAcl\nmetadata: {name: edge}\nspec:\n  vpc: default\n  rules:\n'
  printf '    - %s\n' "$@"
}

asks='{number: 100, direction: ingress, protocol: icmp, icmpType: 8, cidr: 10.0.0.0/18}'
answers='{number: 100, direction: egress, protocol: icmp, icmpType: 0, cidr: 0.0.0.0/0}'

acls() {
  an_acl "$asks" "$answers" >"$scratch/acl.yaml"
  expect "an ACL of the subnet" corten apply -f "$scratch/acl.yaml"
  changed subnet/edge '.spec.networkAcl = "edge"' >"$scratch/subnet.json"
  expect "is the subnet's" corten apply -f "$scratch/subnet.json"
  becomes 10 "what it does not name stays outside" fails_to reads_edge one
  expect "what it names, and the answers, cross the edge" corten exec one -- ping -c 1 -W 2 "$inner"
  expect_failure "nothing else leaves" corten exec inner -- ping -c 1 -W 2 "$one"
  expect "within the subnet nobody asks it" corten exec beside -- ping -c 1 -W 2 "$inner"
  expect "nor about names" corten exec inner -- nslookup two.default.internal
  expect "a trace names the rule" corten net trace one inner
  says "that lets through" '^pass +acl +network acl edge, rule 100: allow icmp type 8 from 10.0.0.0/18$'
  expect_code 10 "and says that there is none" corten net trace one inner --to-port 80
  says "for a page" '^STOP +acl +no rule of network acl edge lets tcp/80 in from '

  an_acl "$asks" >"$scratch/acl.yaml"
  expect "an ACL that forgets the answers" corten apply -f "$scratch/acl.yaml"
  becomes 10 "lets none back" fails_to corten exec one -- ping -c 1 -W 2 "$inner"
  an_acl "$asks" "$answers" '{number: 50, direction: ingress, action: deny, protocol: any, cidr: 10.0.0.0/18}' >"$scratch/acl.yaml"
  expect "a rule that is asked before" corten apply -f "$scratch/acl.yaml"
  expect_code 10 "decides, as a trace says" corten net trace one inner
  says "by its number" '^STOP +acl +network acl edge, rule 50: deny any from 10.0.0.0/18$'
  expect "hosts have it as planned" corten net check

  expect_failure "an ACL in use stays" corten rm networkacl/edge
  changed subnet/edge '.spec.networkAcl = ""' >"$scratch/subnet.json"
  expect "the subnet without an ACL" corten apply -f "$scratch/subnet.json"
  expect "which goes then" corten rm networkacl/edge
  becomes 10 "everything crosses again" reads_edge one
}

# changed KIND/NAME EDIT: the object as it is to be.
changed() { corten get "$1" -o json | jq "$2"; }

reads_edge() { corten exec "$1" -- sh -c "timeout 3 wget -q -O - http://$inner/hostname"; }

# fails_to COMMAND...: for `becomes`.
fails_to() { ! "$@" >/dev/null 2>&1; }

# A container's card is there as soon as its port is said to be.
cards() {
  expect "a port" corten apply -f - <<END
apiVersion: network.corten.dev/v1
kind: Port
metadata: {name: second}
spec: {subnet: edge}
END
  changed instance/one '.spec.networks += [{"port": "second"}]' >"$scratch/one.json"
  expect "a container gets it while it runs" corten apply -f "$scratch/one.json"
  becomes 15 "its status says so" ports_are '["one-0","second"]'
  second=$(corten get port second -o json | jq -r '.spec.addresses[0]')
  expect "the card is there" corten exec one -- ip -4 addr show eth1
  says "with the port's address" "inet $second/"
  expect "and reached" corten exec inner -- ping -c 1 -W 2 "$second"
  expect "and carries packets both ways" corten exec one -- ping -I eth1 -c 1 -W 2 "$inner"
  expect_failure "another cannot have it" corten apply -f - <<END
$(at_the_edge thief | sed 's/{subnet: edge}/{port: second}/')
END
  says "and is told who has" 'is held by instance "one"'
  changed instance/one 'del(.spec.networks[1])' >"$scratch/one.json"
  expect "it is taken away" corten apply -f "$scratch/one.json"
  becomes 15 "which its status says" ports_are '["one-0"]'
  expect_failure "when it is gone" corten exec one -- ip link show eth1
  expect "the port may go" corten rm port/second
}

ports_are() { [ "$(corten get instance one -o json | jq -c .status.ports)" = "$1" ]; }

dhcp_options() {
  expect "options of DHCP" corten apply -f - <<END
apiVersion: network.corten.dev/v1
kind: DhcpOptions
metadata: {name: office}
spec: {domain: office.example, vpcNameServer: true, nameServers: [192.0.2.53], ntpServers: [192.0.2.123]}
END
  changed vpc/default '.spec.dhcpOptions = "office"' >"$scratch/vpc.json"
  expect "are a vpc's" corten apply -f "$scratch/vpc.json"
  becomes 30 "a machine is told" matches '^office.example 10.0.0.1 192.0.2.53 192.0.2.123$' asks_dhcp
  expect_failure "they stay as long as a vpc has them" corten rm dhcpoptions/office
  changed vpc/default '.spec.dhcpOptions = ""' >"$scratch/vpc.json"
  expect "the vpc's own again" corten apply -f "$scratch/vpc.json"
  becomes 30 "a machine is told those" matches '^default.internal 10.0.0.1 $' asks_dhcp
  expect "the options go" corten rm dhcpoptions/office
}

# What the machine's card is told, without taking it over.
asks_dhcp() {
  corten ssh machine -- 'printf "#!/bin/sh\n[ \$1 = bound ] && echo \$domain \$dns \"\$ntpsrv\"\n" >/tmp/told; chmod +x /tmp/told
    udhcpc -i eth0 -n -q -f -O ntpsrv -s /tmp/told 2>/dev/null' | tr -d '\r'
}
