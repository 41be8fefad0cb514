# shellcheck shell=bash
# The unmodified aws command, and a cloud for it. To be sourced after lib.sh.

tools=$repository/target/tools/aws/bin
# Addresses for documentation (RFC 5737): they are given, and nothing is sent there.
pool=198.51.100.64/29
# The command's own pager and its retries would only hide what is wrong.
export AWS_PAGER='' AWS_MAX_ATTEMPTS=1 AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null

start_cloud_for_aws() {
  [ -x "$tools/aws" ] || fatal "no aws command in $tools: scripts/install-packages test makes one"
  start_cloud
  expect "image build tiny" corten image build tiny --name tiny
  expect "a pool of addresses" corten apply -f - <<YAML
apiVersion: network.corten.dev/v1
kind: AddressPool
metadata: {name: outside}
spec: {ranges: ["$pool"]}
YAML
  use_env aws
}

aws() { "$tools/aws" "$@"; }

# query FILTER COMMAND...: one value of an answer, as text.
query() {
  local filter=$1
  shift
  aws ec2 "$@" --query "$filter" --output text
}
