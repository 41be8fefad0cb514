# shellcheck shell=bash
# terraform and its AWS provider against the cloud: built, found unchanged, changed, refreshed, destroyed. To be sourced.

# The provider is taken from a filesystem mirror: the one that CORTEN_TERRAFORM_MIRROR names, or any that is found.
terraform_mirror() {
  local found=${CORTEN_TERRAFORM_MIRROR:-}
  [ -n "$found" ] || found=$(timeout 30 find / -xdev -type d -path '*/registry.terraform.io/hashicorp/aws' -print -quit 2>/dev/null)
  [ -n "$found" ] && echo "${found%/registry.terraform.io/hashicorp/aws}"
}

# tf COMMAND...: of what it says, what counts: which resources would change, what went wrong, and how it ended.
tf() {
  local rc=0
  timeout 240 terraform -chdir="$scratch/terraform" "$@" -no-color >"$scratch/terraform.log" 2>&1 || rc=$?
  sed -n '/^Error: /,$p' "$scratch/terraform.log"
  sed -n '/^Error: /q; /^  # /p; /^ *~ /p; /^No changes/p; /complete! /p' "$scratch/terraform.log"
  return "$rc"
}

tf_output() { terraform -chdir="$scratch/terraform" output -no-color -raw "$1" 2>&1; }

# The plan has no change in it: exit code 2 says that there are some.
tf_unchanged() { tf plan -input=false -detailed-exitcode "$@"; }

terraform_builds() {
  local mirror id before
  command -v terraform >/dev/null || { skip terraform "there is no terraform on PATH"; return; }
  mirror=$(terraform_mirror) || { skip terraform "no mirror of hashicorp/aws; CORTEN_TERRAFORM_MIRROR names one"; return; }
  cp -r "$here/terraform" "$scratch/terraform"
  export TF_CLI_CONFIG_FILE=$scratch/terraformrc TF_IN_AUTOMATION=1 CHECKPOINT_DISABLE=1
  printf 'provider_installation {\n  filesystem_mirror {\n    path = "%s"\n  }\n}\n' "$mirror" >"$TF_CLI_CONFIG_FILE"
  ssh-keygen -q -t ed25519 -N '' -C shop -f "$scratch/terraform/key"
  export TF_VAR_image=tiny TF_VAR_disk=disk TF_VAR_public_key
  TF_VAR_public_key=$(cat "$scratch/terraform/key.pub")
  before=$(left_of_terraform)

  expect "terraform init" tf init -input=false
  expect "terraform apply" tf apply -input=false -auto-approve
  says "everything is made" 'Resources: [0-9]+ added, 0 changed, 0 destroyed'
  expect "a plan finds nothing to do" tf_unchanged
  id=$(tf_output instance)
  equals "the machine runs with its disk" "$(tf_output volume)" "$(query \
    'Reservations[0].Instances[0].BlockDeviceMappings[?DeviceName==`/dev/sdf`].Ebs.VolumeId' describe-instances --instance-ids "$id")"

  export TF_VAR_second=true
  expect "terraform changes it" tf apply -input=false -auto-approve
  says "in place" 'changed'
  expect "a plan finds nothing to do after it" tf_unchanged
  equals "the same machine" "$id" "$(tf_output instance)"
  equals "its disk has grown" 2 "$(query 'Volumes[0].Size' describe-volumes --volume-ids "$(tf_output volume)")"
  equals "and that from which another starts" 3 "$(query 'Volumes[0].Size' describe-volumes --volume-ids "$(tf_output root)")"
  expect "terraform refresh" tf apply -input=false -auto-approve -refresh-only
  says "finds what it knew" '0 added, 0 changed, 0 destroyed'
  expect "a tag that another gave" aws ec2 create-tags --resources "$id" --tags Key=Name,Value=other
  expect_code 2 "is seen" tf_unchanged

  expect "terraform destroy" tf destroy -input=false -auto-approve
  says "everything goes" 'Resources: [0-9]+ destroyed'
  becomes 30 "nothing is left" terraform_left_nothing "$before"
  unset TF_VAR_second
}

# Everything that terraform could have made.
left_of_terraform() {
  local kind
  for kind in instances images volumes volumesnapshots vpcs subnets securitygroups routetables gateways ports floatingips \
    keypairs networkacls dhcpoptions launchtemplates iamroles iampolicies iaminstanceprofiles loadbalancers targetgroups \
    instancesets buckets; do
    corten get "$kind" -o name
  done
}

terraform_left_nothing() { [ "$(left_of_terraform)" = "$1" ] || { diff <(echo "$1") <(left_of_terraform); false; }; }
