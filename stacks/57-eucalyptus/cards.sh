# shellcheck shell=bash
# Network interfaces that are attached to a guest while it runs, and taken out. Read by `check`.

# a_card_comes_and_goes KEY INSTANCE: the instance runs and lets the key in.
a_card_comes_and_goes() {
  local key=$1 id=$2 subnet eni attachment mac
  subnet=$(query 'Reservations[0].Instances[0].SubnetId' describe-instances --instance-ids "$id")
  expect "create-network-interface" aws ec2 create-network-interface --subnet-id "$subnet" --description second
  eni=$(jq -r .NetworkInterface.NetworkInterfaceId <<<"$out")
  mac=$(jq -r .NetworkInterface.MacAddress <<<"$out")
  equals "the guest has one card" "eth0 lo" "$(guest_cards "$key" "$id")"
  fails OperationNotPermitted detach-network-interface --attachment-id "$(attachment_of attachment.device-index=0 "$id")"
  fails InvalidParameterValue attach-network-interface --network-interface-id "$eni" --instance-id "$id" --device-index 0
  expect "attach-network-interface" aws ec2 attach-network-interface --network-interface-id "$eni" --instance-id "$id" --device-index 1
  attachment=$(jq -r .AttachmentId <<<"$out")
  becomes 60 "the interface is attached" card_is "$eni" attached
  equals "as the second card" "1 False" "$(query 'NetworkInterfaces[0].Attachment.[DeviceIndex,DeleteOnTermination]' \
    describe-network-interfaces --network-interface-ids "$eni" | tr '\t' ' ')"
  becomes 30 "the guest sees it" guest_has "$key" "$id" "$mac"
  expect "it asks for its address there" guest "$key" "$id" "ip link set eth1 up && udhcpc -i eth1 -n -q -f -s /bin/true 2>&1"
  says "and is told the one that it has" "lease of $(query 'NetworkInterfaces[0].PrivateIpAddress' \
    describe-network-interfaces --network-interface-ids "$eni") obtained"
  fails InvalidNetworkInterface.InUse delete-network-interface --network-interface-id "$eni"
  fails InvalidNetworkInterface.InUse attach-network-interface --network-interface-id "$eni" --instance-id "$id" --device-index 2

  expect "detach-network-interface" aws ec2 detach-network-interface --attachment-id "$attachment"
  expect "wait network-interface-available" aws ec2 wait network-interface-available --network-interface-ids "$eni"
  equals "the guest has it no more when that is said" "eth0 lo" "$(guest_cards "$key" "$id")"
  fails InvalidAttachmentID.NotFound detach-network-interface --attachment-id "$attachment"
  expect "nothing of it is left on the host" corten net check
  second_card=$eni
}

# a_card_while_it_is_off INSTANCE: the one of before, and it goes along with the instance.
a_card_while_it_is_off() {
  local id=$1 eni=$second_card
  expect "attach-network-interface while it is off" aws ec2 attach-network-interface --network-interface-id "$eni" --instance-id "$id" --device-index 3
  expect "to go with it" aws ec2 modify-network-interface-attribute --network-interface-id "$eni" \
    --attachment "AttachmentId=$(jq -r .AttachmentId <<<"$out"),DeleteOnTermination=true"
  equals "the interface is attached as the fourth card" "attached 3 True" "$(query \
    'NetworkInterfaces[0].Attachment.[Status,DeviceIndex,DeleteOnTermination]' describe-network-interfaces \
    --network-interface-ids "$eni" | tr '\t' ' ')"
}

# cards_from_the_start KEY INSTANCE
cards_from_the_start() {
  local key=$1 id=$2 mac
  mac=$(query 'NetworkInterfaces[0].MacAddress' describe-network-interfaces --network-interface-ids "$second_card")
  becomes "$guest_seconds_max" "the guest has its second card from the start" guest_has "$key" "$id" "$mac"
  expect "which can be taken out as well" aws ec2 detach-network-interface \
    --attachment-id "$(attachment_of attachment.device-index=3 "$id")"
  expect "wait network-interface-available again" aws ec2 wait network-interface-available --network-interface-ids "$second_card"
  equals "and the guest has one card" "eth0 lo" "$(guest_cards "$key" "$id")"
  expect "attach it once more" aws ec2 attach-network-interface --network-interface-id "$second_card" --instance-id "$id" --device-index 1
  expect "to go with its instance" aws ec2 modify-network-interface-attribute --network-interface-id "$second_card" \
    --attachment "AttachmentId=$(jq -r .AttachmentId <<<"$out"),DeleteOnTermination=true"
}

# No interface is left that went along with its instance.
cards_went_along() {
  becomes 30 "its second card went along" no_interface "$second_card"
}

no_interface() { ! aws ec2 describe-network-interfaces --network-interface-ids "$1" >/dev/null 2>&1; }

attachment_of() {
  query 'NetworkInterfaces[0].Attachment.AttachmentId' describe-network-interfaces \
    --filters "Name=attachment.instance-id,Values=$2" "Name=${1%=*},Values=${1#*=}"
}

card_is() {
  [ "$(query 'NetworkInterfaces[0].Attachment.Status' describe-network-interfaces --network-interface-ids "$1")" = "$2" ]
}

# The names of the cards that the guest has.
guest_cards() { guest "$1" "$2" 'ls /sys/class/net' | sort | xargs; }

guest_has() { guest "$1" "$2" 'cat /sys/class/net/*/address' | grep -q "$3"; }
