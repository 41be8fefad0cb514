# shellcheck shell=bash
# Images and the volumes that machines start from: brought in, run, entered from outside, stopped and started, made an
# image again, and gone without a trace. To be sourced by the check.

machine_images() {
  local id first other address allocation private image made snapshot key=$scratch/machines.key
  expect "image build tiny-disk" corten image build tiny-disk --name disk
  a_network
  a_role
  expect "a key for machines" query KeyMaterial create-key-pair --key-name machines --key-type ed25519
  (umask 077 && echo "$out" >"$key")
  an_import
  # shellcheck disable=SC2016
  printf '#!/bin/sh\nfor n in 1 2 3 4 5 6 7 8 9; do d=$(findfs LABEL=TINY) && break; sleep 1; done\nmkdir -p /disk && mount -t vfat "$d" /disk && date >>/disk/boots && sync\necho done >/tmp/said\n' >"$scratch/machine.sh"
  machine "$image" 'DeviceName=/dev/sda1,Ebs={VolumeSize=2,VolumeType=gp3}'
  first=$id
  its_root "$first" 2
  expect "allocate-address" aws ec2 allocate-address
  address=$(jq -r .PublicIp <<<"$out")
  allocation=$(jq -r .AllocationId <<<"$out")
  expect "associate-address" aws ec2 associate-address --allocation-id "$allocation" --instance-id "$first"
  becomes "$guest_seconds_max" "ssh through the elastic address" says_at "$address" 'cat /tmp/said' done
  expect "credentials of the role" enter "$address" "$(metadata iam/security-credentials/Reader)"
  echo "$out" >"$scratch/given"
  as_the_instance "$out" "$first"
  expect "boto3 beside the guest calls with them" as_boto "$scratch/given"
  says "and is the role" "assumed-role/Reader/$first"

  private=$(private_of "$first")
  expect "something is written on its disk" enter "$address" 'echo kept >/disk/kept; sync'
  expect "stop-instances" aws ec2 stop-instances --instance-ids "$first"
  becomes 60 "it is stopped" state_is "$first" stopped
  its_root "$first" 2
  expect "start-instances" aws ec2 start-instances --instance-ids "$first"
  equals "it has its private address" "$private" "$(private_of "$first")"
  becomes "$guest_seconds_max" "and is entered by its elastic one" says_at "$address" 'cat /tmp/said' done
  equals "what was written is there" kept "$(enter "$address" 'cat /disk/kept')"

  # Held back by the guest: only one that ends in order has it on the disk.
  expect "something is written and not yet on the disk" enter "$address" 'echo late >/disk/late'
  expect "create-image" aws ec2 create-image --instance-id "$first" --name again --description 'of a machine' \
    --tag-specifications 'ResourceType=image,Tags=[{Key=of,Value=machine}]' 'ResourceType=snapshot,Tags=[{Key=of,Value=machine}]'
  made=$(jq -r .ImageId <<<"$out")
  becomes "$guest_seconds_max" "it is available" image_is "$made" available
  snapshot=$(query 'Images[0].BlockDeviceMappings[0].Ebs.SnapshotId' describe-images --image-ids "$made")
  equals "its snapshot is tagged" machine "$(query 'Snapshots[0].Tags[0].Value' describe-snapshots --snapshot-ids "$snapshot")"
  fails InvalidSnapshot.InUse delete-snapshot --snapshot-id "$snapshot"
  becomes "$guest_seconds_max" "the machine is up again" says_at "$address" 'cat /tmp/said' done
  expect "its address goes to the next" aws ec2 disassociate-address --association-id \
    "$(query 'Addresses[0].AssociationId' describe-addresses --allocation-ids "$allocation")"
  machine "$made"
  other=$id
  its_root "$other" 2
  expect "associate-address" aws ec2 associate-address --allocation-id "$allocation" --instance-id "$other"
  becomes "$guest_seconds_max" "the second machine is entered" says_at "$address" 'cat /tmp/said' done
  equals "and has what was written last" late "$(enter "$address" 'cat /disk/late')"
  expect "deregister-image" aws ec2 deregister-image --image-id "$made"
  expect "delete-snapshot" aws ec2 delete-snapshot --snapshot-id "$snapshot"

  expect "terminate-instances" aws ec2 terminate-instances --instance-ids "$first" "$other"
  restarted
  becomes 60 "they end" state_is "$first" terminated
  becomes 60 "their disks are gone, though the server was killed meanwhile" no_volumes
  expect "release-address" aws ec2 release-address --allocation-id "$allocation"
  roles_end
  network_ends
  expect "deregister-image" aws ec2 deregister-image --image-id "$image"
  expect "delete-key-pair" aws ec2 delete-key-pair --key-name machines
}

# From a file in a bucket to an image that is started from.
an_import() {
  local task
  expect "aws s3 mb" aws s3 mb s3://brought
  expect "aws s3 cp of a disk" aws s3 cp --no-progress "$(file_of disk)" s3://brought/disks/machine.qcow2
  expect "import-image" aws ec2 import-image --description 'brought in' --disk-containers \
    'Description=root,Format=QCOW2,UserBucket={S3Bucket=brought,S3Key=disks/machine.qcow2}' \
    --tag-specifications 'ResourceType=import-image-task,Tags=[{Key=of,Value=machine}]'
  task=$(jq -r .ImportTaskId <<<"$out")
  becomes 60 "the task is completed" task_is "$task" completed
  image=$(query 'ImportImageTasks[0].ImageId' describe-import-image-tasks --import-task-ids "$task")
  fails IncorrectState cancel-import-task --import-task-id "$task"
  expect "import-image of what is not there" aws ec2 import-image --disk-containers \
    'Format=QCOW2,UserBucket={S3Bucket=brought,S3Key=disks/other.qcow2}'
  task=$(jq -r .ImportTaskId <<<"$out")
  becomes 30 "that task ends" task_is "$task" deleted
  says "and says why" 'there is no object .*disks/other.qcow2'
  expect "cancel-import-task" aws ec2 cancel-import-task --import-task-id "$task"
  expect "aws s3 rb" aws s3 rb --force s3://brought
}

# file_of IMAGE: the disk of an image, as a file.
file_of() { find "$data/images" -type f -name "*$(corten get image "$1" -o json | jq -r '.status.artifacts[0].sha256')*" | head -n 1; }

# task_is ID STATUS
task_is() {
  aws ec2 describe-import-image-tasks --import-task-ids "$1"
  [ "$(query 'ImportImageTasks[0].Status' describe-import-image-tasks --import-task-ids "$1")" = "$2" ]
}

# A network whose guests are reached from outside.
a_network() {
  vpc=$(query Vpc.VpcId create-vpc --cidr-block 10.70.0.0/16)
  subnet=$(query Subnet.SubnetId create-subnet --vpc-id "$vpc" --cidr-block 10.70.1.0/24)
  gateway=$(query InternetGateway.InternetGatewayId create-internet-gateway)
  expect "attach-internet-gateway" aws ec2 attach-internet-gateway --internet-gateway-id "$gateway" --vpc-id "$vpc"
  table=$(query 'RouteTables[0].RouteTableId' describe-route-tables --filters "Name=vpc-id,Values=$vpc")
  expect "a route to outside" aws ec2 create-route --route-table-id "$table" --destination-cidr-block 0.0.0.0/0 --gateway-id "$gateway"
  group=$(query 'SecurityGroups[0].GroupId' describe-security-groups --filters "Name=vpc-id,Values=$vpc")
  expect "ssh is let in" aws ec2 authorize-security-group-ingress --group-id "$group" --protocol tcp --port 22 --cidr 0.0.0.0/0
}

network_ends() {
  expect "delete-route" aws ec2 delete-route --route-table-id "$table" --destination-cidr-block 0.0.0.0/0
  expect "detach-internet-gateway" aws ec2 detach-internet-gateway --internet-gateway-id "$gateway" --vpc-id "$vpc"
  expect "delete-internet-gateway" aws ec2 delete-internet-gateway --internet-gateway-id "$gateway"
  expect "delete-subnet" aws ec2 delete-subnet --subnet-id "$subnet"
  expect "delete-vpc" aws ec2 delete-vpc --vpc-id "$vpc"
}

# machine IMAGE [MAPPING]: one that runs; its id is in $id.
machine() {
  expect "run-instances" aws ec2 run-instances --image-id "$1" --instance-type tiny --key-name machines \
    --subnet-id "$subnet" --iam-instance-profile Name=Reader --user-data "file://$scratch/machine.sh" \
    --tag-specifications 'ResourceType=volume,Tags=[{Key=of,Value=machine}]' ${2:+--block-device-mappings "$2"}
  id=$(jq -r '.Instances[0].InstanceId' <<<"$out")
  becomes "$guest_seconds_max" "it runs" state_is "$id" running
}

# its_root ID GIB: the volume that the machine starts from is shown as everywhere else.
its_root() {
  local shown
  shown=$(query 'Reservations[0].Instances[0].[RootDeviceType,RootDeviceName,BlockDeviceMappings[0].DeviceName,BlockDeviceMappings[0].Ebs.DeleteOnTermination]' \
    describe-instances --instance-ids "$1" | tr '\t' ' ')
  equals "$1 starts from a volume" 'ebs /dev/sda1 /dev/sda1 True' "$shown"
  equals "which is its own" "in-use $2 machine" "$(query 'Volumes[0].[State,Size,Tags[0].Value]' describe-volumes \
    --filters "Name=attachment.instance-id,Values=$1" Name=attachment.device,Values=/dev/sda1 | tr '\t' ' ')"
}

private_of() { query 'Reservations[0].Instances[0].PrivateIpAddress' describe-instances --instance-ids "$1"; }

no_volumes() { [ -z "$(query 'Volumes[].VolumeId' describe-volumes)" ]; }

image_is() { [ "$(query 'Images[0].State' describe-images --image-ids "$1")" = "$2" ]; }

# enter ADDRESS COMMAND: as a user of AWS does, by the address that is known outside.
enter() {
  timeout 30 ssh -i "$key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
    -o ConnectTimeout=5 -o IdentitiesOnly=yes "root@$1" "$2" </dev/null
}

# says_at ADDRESS COMMAND WORD
says_at() { [ "$(enter "$1" "$2")" = "$3" ]; }

# as_boto: who boto3 is with the credentials that metadata gave.
as_boto() {
  env -u AWS_PROFILE AWS_ACCESS_KEY_ID="$(jq -r .AccessKeyId "$1")" AWS_SECRET_ACCESS_KEY="$(jq -r .SecretAccessKey "$1")" \
    AWS_SESSION_TOKEN="$(jq -r .Token "$1")" \
    "$tools/python" -c 'import boto3; print(boto3.client("sts").get_caller_identity()["Arn"])'
}

# The server dies and comes again, as after a loss of power.
restarted() {
  local pid
  for pid in $(daemons "$data"); do kill -9 "$pid"; done
  becomes 10 "the server is dead" no_daemons "$data"
  expect "it is started again" corten up --detach --data "$data" --listen "$listen"
}
