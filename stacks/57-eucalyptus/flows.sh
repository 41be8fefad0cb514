# shellcheck shell=bash
# What flows through a guest's interface, written into a bucket. Read by `check`.

flows_bucket=flows-of-check
# An address for documentation (RFC 5737): what is sent there comes nowhere.
flows_to=203.0.113.7
flows_port=9

# flows_are_recorded KEY INSTANCE: from now on; the instance runs and lets the key in.
flows_are_recorded() {
  local key=$1 id=$2
  expect "create-bucket" aws s3api create-bucket --bucket "$flows_bucket"
  flows_eni=$(query 'Reservations[0].Instances[0].NetworkInterfaces[0].NetworkInterfaceId' describe-instances --instance-ids "$id")
  expect "create-flow-logs" aws ec2 create-flow-logs --resource-type NetworkInterface --resource-ids "$flows_eni" --traffic-type ALL \
    --log-destination-type s3 --log-destination "arn:aws:s3:::$flows_bucket/net" --max-aggregation-interval 60
  flow_log=$(jq -r '.FlowLogIds[0]' <<<"$out")
  becomes 60 "what the guest sends from then on is recorded" flows_are_noted "$key" "$id"
}

# flows_are_noted KEY INSTANCE: it sends something more, and its host has a line of that.
flows_are_noted() {
  guest "$1" "$2" "nc -w 1 $flows_to $flows_port </dev/null >/dev/null 2>&1; true" || return 1
  corten net flows "$2-0" | grep -Eq "^2 default $2-0 [0-9.]+ $flows_to [0-9]+ $flows_port 6 [0-9]+ [0-9]+ [0-9]+ [0-9]+ ACCEPT OK\$"
}

# The lines of a minute come with the next.
flows_are_in_the_bucket() {
  local account
  account=$(aws sts get-caller-identity --query Account --output text)
  becomes 150 "what it sent is told in a file of the bucket" flows_tell \
    "^2 $account $flows_eni [0-9.]+ $flows_to [0-9]+ $flows_port 6 [0-9]+ [0-9]+ [0-9]+ [0-9]+ ACCEPT OK\$"
  expect "where readers look for it" aws s3api list-objects-v2 --bucket "$flows_bucket"
  says "by account, region and day" \
    "\"net/AWSLogs/$account/vpcflowlogs/my-corten-1/[0-9]{4}/[0-9]{2}/[0-9]{2}/${account}_vpcflowlogs_my-corten-1_${flow_log}_[0-9]{8}T[0-9]{4}Z_[0-9a-f]{8}.log.gz\""
  equals "and that is said" SUCCESS "$(query 'FlowLogs[0].DeliverLogsStatus' describe-flow-logs --flow-log-ids "$flow_log")"
  expect "delete-flow-logs" aws ec2 delete-flow-logs --flow-log-ids "$flow_log"
  expect "its bucket" aws s3 rb --force "s3://$flows_bucket"
}

# flows_tell PATTERN: a line of a file in the bucket is like this.
flows_tell() {
  local key
  for key in $(aws s3api list-objects-v2 --bucket "$flows_bucket" --query 'Contents[].Key' --output text); do
    aws s3 cp "s3://$flows_bucket/$key" - 2>/dev/null | gunzip -c 2>/dev/null
  done | grep -Eq -- "$1"
}
