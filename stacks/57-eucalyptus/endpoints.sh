# shellcheck shell=bash
# Guests without any way out that reach the cloud's own API by VPC endpoints: the unmodified aws command in containers of
# subnets without a gateway. Read by `check`.

endpoint_service=com.amazonaws.my-corten-1
# How long a hand in the data plane may take, and how long who is shut out waits until he gives up.
endpoint_seconds=20

vpc_endpoints() {
  two_subnets_without_a_way
  a_gateway
  a_gateway_has_a_policy
  a_bucket_knows_its_endpoint
  an_interface
  the_server_comes_back
  an_endpoint_goes_while_it_is_used
  endpoints_leave_nothing
}

# box NAME SUBNET GROUP: a container with the aws command and the administrator's key, and no word of where the cloud is.
box() {
  expect "a container in $2" corten apply -f - <<YAML
apiVersion: compute.corten.dev/v1
kind: Instance
metadata: {name: $1}
spec:
  isolation: namespace
  networks: [{subnet: $2, securityGroups: [$3]}]
  payload:
    containers:
      containers:
        - name: main
          image: client
          env:
            - {name: AWS_ACCESS_KEY_ID, value: "$AWS_ACCESS_KEY_ID"}
            - {name: AWS_SECRET_ACCESS_KEY, value: "$AWS_SECRET_ACCESS_KEY"}
            - {name: AWS_DEFAULT_REGION, value: my-corten-1}
            - {name: AWS_CA_BUNDLE, value: /tmp/ca.pem}
            - {name: AWS_MAX_ATTEMPTS, value: "1"}
            - {name: AWS_EC2_METADATA_DISABLED, value: "true"}
YAML
}

# inside NAME COMMAND...: in one of them.
inside() {
  local name=$1
  shift
  timeout 90 "$CORTEN" exec "$name" -- "$@" </dev/null
}

# What a guest trusts, it is told by its metadata.
trusts() {
  inside "$1" python3 -c '
import urllib.request
base = "http://169.254.169.254/latest/"
ask = lambda path, **more: urllib.request.urlopen(urllib.request.Request(base + path, **more), timeout=10).read()
token = ask("api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}).decode()
authority = ask("meta-data/services/certificate-authority", headers={"X-aws-ec2-metadata-token": token})
open("/tmp/ca.pem", "wb").write(authority)
'
}

two_subnets_without_a_way() {
  expect "an image with the aws command" "$tools/python" "$here/client_image.py" "$scratch/client.tar"
  expect "is imported" corten image import "$scratch/client.tar" --format oci --name client
  rm -f "$scratch/client.tar"
  expect "create-vpc" query Vpc.VpcId create-vpc --cidr-block 10.60.0.0/16
  ep_vpc=$out
  expect "create-subnet" query Subnet.SubnetId create-subnet --vpc-id "$ep_vpc" --cidr-block 10.60.1.0/24
  ep_led=$out
  expect "create-subnet" query Subnet.SubnetId create-subnet --vpc-id "$ep_vpc" --cidr-block 10.60.2.0/24
  ep_unled=$out
  expect "create-route-table" query RouteTable.RouteTableId create-route-table --vpc-id "$ep_vpc"
  ep_table=$out
  expect "associate-route-table" aws ec2 associate-route-table --route-table-id "$ep_table" --subnet-id "$ep_led"
  ep_main=$(query 'RouteTables[0].RouteTableId' describe-route-tables \
    --filters "Name=vpc-id,Values=$ep_vpc" Name=association.main,Values=true)
  ep_group=$(query 'SecurityGroups[0].GroupId' describe-security-groups --filters "Name=vpc-id,Values=$ep_vpc")
  box led "$ep_led" "$ep_group"
  box unled "$ep_unled" "$ep_group"
  becomes 60 "both run" both_run
  expect "a guest is told the cloud's authority" trusts led
  expect "and the other" trusts unled
}

both_run() { phase_is led Running && phase_is unled Running; }

# shut_out NAME COMMAND...: it comes to nobody.
shut_out() {
  local name=$1
  shift
  expect_failure "$name: $* comes to nobody" inside "$name" aws --cli-connect-timeout 4 --cli-read-timeout 20 "$@"
  says "$name: and nobody answers" 'Connect timeout|Could not connect'
}

a_gateway() {
  expect "create-vpc-endpoint" query VpcEndpoint.VpcEndpointId create-vpc-endpoint --vpc-id "$ep_vpc" \
    --service-name "$endpoint_service.s3" --route-table-ids "$ep_table"
  ep_gateway=$out
  fails RouteAlreadyExists create-vpc-endpoint --vpc-id "$ep_vpc" --service-name "$endpoint_service.s3" --route-table-ids "$ep_table"
  equals "the table shows the way" "$ep_gateway" "$(query "RouteTables[0].Routes[?starts_with(DestinationPrefixListId || '', 'pl-')].GatewayId" \
    describe-route-tables --route-table-ids "$ep_table")"
  becomes "$endpoint_seconds" "a guest makes a bucket by S3's own name" inside led aws s3 mb s3://by-the-endpoint
  expect "puts an object" inside led aws s3 cp --no-progress /etc/passwd s3://by-the-endpoint/dir/one
  expect "lists it" inside led aws s3 ls s3://by-the-endpoint/dir/
  says "it is there" ' one$'
  expect "and reads it, the bucket named by the host" inside led python3 -c '
import boto3
told = boto3.client("s3").get_object(Bucket="by-the-endpoint", Key="dir/one")
print(told["Body"].read().decode(), told["ResponseMetadata"]["HTTPHeaders"])
url = boto3.client("s3").generate_presigned_url("get_object", Params={"Bucket": "by-the-endpoint", "Key": "dir/one"})
assert url.startswith("https://by-the-endpoint."), url
'
  says "whole" '^root:x:0:0'
  expect "from outside it is there as well" aws s3 ls s3://by-the-endpoint/dir/
  shut_out unled s3 ls
  expect_failure "S3's endpoint answers S3 alone" inside led aws sts get-caller-identity --endpoint-url https://s3.my-corten-1.amazonaws.com
  says "and refuses others" 'AccessDenied'
  expect "modify-vpc-endpoint" aws ec2 modify-vpc-endpoint --vpc-endpoint-id "$ep_gateway" --add-route-table-ids "$ep_main"
  becomes "$endpoint_seconds" "a route lets the other subnet in" inside unled aws s3 ls s3://by-the-endpoint
  expect "and its end" aws ec2 modify-vpc-endpoint --vpc-endpoint-id "$ep_gateway" --remove-route-table-ids "$ep_main"
  becomes "$endpoint_seconds" "keeps it out" is_shut_out unled
}

is_shut_out() {
  local rc=0
  inside "$1" aws --cli-connect-timeout 4 s3 ls >/dev/null 2>&1 || rc=$?
  [ "$rc" != 0 ]
}

a_gateway_has_a_policy() {
  expect "a policy that lets read" aws ec2 modify-vpc-endpoint --vpc-endpoint-id "$ep_gateway" --policy-document \
    '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}}'
  expect "reading goes on" inside led aws s3 ls s3://by-the-endpoint/dir/
  expect_failure "writing does not" inside led aws s3 cp --no-progress /etc/passwd s3://by-the-endpoint/dir/two
  says "because of the endpoint's policy" 'AccessDenied.*no VPC endpoint policy allows'
  expect "from outside it goes on" aws s3api put-object --bucket by-the-endpoint --key dir/three
  fails InvalidPolicyDocument modify-vpc-endpoint --vpc-endpoint-id "$ep_gateway" --policy-document '{"Statement":[]}'
  expect "reset the policy" aws ec2 modify-vpc-endpoint --vpc-endpoint-id "$ep_gateway" --reset-policy
  expect "writing goes on" inside led aws s3 cp --no-progress /etc/passwd s3://by-the-endpoint/dir/two
}

a_bucket_knows_its_endpoint() {
  expect "a bucket that is there by the endpoint alone" aws s3api put-bucket-policy --bucket by-the-endpoint --policy \
    "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*Object\",
      \"Resource\":\"arn:aws:s3:::by-the-endpoint/*\",\"Condition\":{\"StringNotEquals\":{\"aws:SourceVpce\":\"$ep_gateway\"}}}}"
  expect_failure "from outside nobody reads" aws s3api get-object --bucket by-the-endpoint --key dir/one "$scratch/one"
  says "it is denied" 'AccessDenied'
  expect "through the endpoint it is read" inside led aws s3 cp --no-progress s3://by-the-endpoint/dir/one -
  says "as it was written" '^root:x:0:0'
  expect "only from the Vpc, and from the guest's address" aws s3api put-bucket-policy --bucket by-the-endpoint --policy \
    "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*Object\",
      \"Resource\":\"arn:aws:s3:::by-the-endpoint/*\",\"Condition\":{\"NotIpAddressIfExists\":{\"aws:VpcSourceIp\":\"10.60.1.0/24\"},
      \"StringNotEqualsIfExists\":{\"aws:SourceVpc\":\"$ep_vpc\"}}}}"
  expect "which it is" inside led aws s3 cp --no-progress s3://by-the-endpoint/dir/one -
  expect "no policy" aws s3api delete-bucket-policy --bucket by-the-endpoint
}

an_interface() {
  expect "create-security-group" query GroupId create-security-group --group-name guards --description guards --vpc-id "$ep_vpc"
  ep_guards=$out
  expect "an interface endpoint of EC2" query VpcEndpoint.VpcEndpointId create-vpc-endpoint --vpc-id "$ep_vpc" \
    --vpc-endpoint-type Interface --service-name "$endpoint_service.ec2" --subnet-ids "$ep_unled" --security-group-ids "$ep_guards"
  ep_interface=$out
  shut_out unled ec2 describe-regions
  expect "its group lets in" aws ec2 authorize-security-group-ingress --group-id "$ep_guards" --protocol tcp --port 443 --cidr 10.60.2.0/24
  becomes "$endpoint_seconds" "a guest calls EC2 by its own name" inside unled aws ec2 describe-vpcs --vpc-ids "$ep_vpc"
  says "and finds its own VPC" '10\.60\.0\.0/16'
  shut_out led ec2 describe-regions
  local name
  name=$(query 'VpcEndpoints[0].DnsEntries[0].DnsName' describe-vpc-endpoints --vpc-endpoint-ids "$ep_interface")
  expect "or by the endpoint's name" inside unled aws ec2 describe-vpcs --vpc-ids "$ep_vpc" --endpoint-url "https://$name"
  expect "in another subnet as well" aws ec2 modify-vpc-endpoint --vpc-endpoint-id "$ep_interface" --add-subnet-ids "$ep_led" \
    --remove-subnet-ids "$ep_unled"
  becomes "$endpoint_seconds" "the other address is gone" one_interface "$ep_led"
  becomes "$endpoint_seconds" "and it is reached there" inside unled aws ec2 describe-regions
  expect "no names of the service" aws ec2 modify-vpc-endpoint --vpc-endpoint-id "$ep_interface" --no-private-dns-enabled
  becomes 60 "the service's name leads nowhere" leads_nowhere ec2.my-corten-1.amazonaws.com
}

# one_interface SUBNET: the endpoint's only one is there.
one_interface() {
  [ "$(query 'NetworkInterfaces[].SubnetId' describe-network-interfaces --filters "Name=vpc-id,Values=$ep_vpc" \
    "Name=group-id,Values=$ep_guards")" = "$1" ]
}

# leads_nowhere NAME: not into the VPC.
leads_nowhere() { ! inside unled python3 -c "import socket; print(socket.gethostbyname('$1'))" | grep -q '^10\.60\.'; }

the_server_comes_back() {
  local pid
  for pid in $(daemons "$data"); do kill -9 "$pid"; done
  expect "up again" corten up --detach --data "$data" --listen "$listen"
  use_env corten
  use_env aws
  becomes 60 "the guest lists its bucket again" inside led aws s3 ls s3://by-the-endpoint
}

# Whoever holds a connection is let go of. The guest asks for a big object and does not read on; what waits on the way is
# little.
an_endpoint_goes_while_it_is_used() {
  head -c 67108864 /dev/zero >"$scratch/big"
  expect "a big object" aws s3 cp --no-progress "$scratch/big" s3://by-the-endpoint/big
  rm -f "$scratch/big"
  inside led python3 -c '
import socket, ssl, time, urllib.parse
import boto3
from botocore.config import Config
# Else it presigns for the one name of all regions, s3.amazonaws.com.
s3 = boto3.client("s3", config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))
url = s3.generate_presigned_url("get_object", Params={"Bucket": "by-the-endpoint", "Key": "big"})
name, path = urllib.parse.urlsplit(url).hostname, url.split("/", 3)[3]
plain = socket.create_connection((name, 443), 20)
held = ssl.create_default_context(cafile="/tmp/ca.pem").wrap_socket(plain, server_hostname=name)
held.sendall(f"GET /{path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
print("held", held.recv(15), flush=True)
time.sleep(25)
told = 0
try:
    while told < 67108864 and (some := held.recv(1 << 20)):
        told += len(some)
except OSError:
    pass
print("whole" if told >= 67108864 else "ended", told, flush=True)
' >"$scratch/held" 2>&1 &
  becomes 60 "a connection is open" grep "held b'HTTP/1.1 200 OK'" "$scratch/held"
  expect "delete-vpc-endpoints" aws ec2 delete-vpc-endpoints --vpc-endpoint-ids "$ep_gateway" vpce-00000000000000000
  says "says which it could not" 'InvalidVpcEndpointId.NotFound'
  becomes 60 "the connection ends with it" grep ended "$scratch/held"
  sed 's/^/    /' "$scratch/held"
  shut_out led s3 ls
}

endpoints_leave_nothing() {
  expect "delete-vpc-endpoints" aws ec2 delete-vpc-endpoints --vpc-endpoint-ids "$ep_interface"
  says "all of them" '"Unsuccessful": \[\]'
  expect "the containers" corten rm led unled
  expect "the bucket" aws s3 rb --force s3://by-the-endpoint
  local id
  for id in "$ep_led" "$ep_unled"; do becomes 20 "delete-subnet" aws ec2 delete-subnet --subnet-id "$id"; done
  expect "delete-route-table" aws ec2 delete-route-table --route-table-id "$ep_table"
  expect "delete-security-group" aws ec2 delete-security-group --group-id "$ep_guards"
  expect "delete-vpc" aws ec2 delete-vpc --vpc-id "$ep_vpc"
  equals "no endpoint and no port of one is left" "" "$(corten get vpcendpoints -o name; corten get ports -o name | grep vpce)"
  expect "the image" corten rm image/client
}
