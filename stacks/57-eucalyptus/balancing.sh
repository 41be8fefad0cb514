# shellcheck shell=bash
# Load balancers of ELBv2 in front of real guests: what their clients see. To be sourced by the check.

balanced() {
  script=$scratch/web.sh
  ami=$(query 'Images[0].ImageId' describe-images --owners self --filters Name=name,Values=tiny)
  # shellcheck disable=SC2016
  printf '#!/bin/sh\nmkdir -p /www/v1; hostname >/www/index.html; hostname >/www/v1/index.html; httpd -p 80 -h /www\n' >"$script"
  expect "image build busybox" corten image build busybox --name busybox
  expect "a client in the VPC" corten run --image busybox --name client --wait -- sleep 7000
  expect "a key to enter them" query KeyMaterial create-key-pair --key-name web --key-type ed25519
  (umask 077 && echo "$out" >"$scratch/web.key")
  expect "two web servers" aws ec2 run-instances --image-id "$ami" --instance-type tiny --count 2 --key-name web --user-data "file://$script" \
    --tag-specifications 'ResourceType=instance,Tags=[{Key=Name,Value=web}]'
  mapfile -t webs < <(jq -r '.Instances[].InstanceId' <<<"$out")
  expect "wait instance-running" aws ec2 wait instance-running --instance-ids "${webs[@]}"
  a_balancer
  answers_of_its_own
  one_target_dies
  a_group
  balanced_ends
}

groups() { aws autoscaling "$@"; }

# A group of the same servers behind the same balancer: it has as many as it should.
a_group() {
  local gone
  expect "a launch template" aws ec2 create-launch-template --launch-template-name web --launch-template-data \
    "{\"ImageId\": \"$ami\", \"InstanceType\": \"tiny\", \"UserData\": \"$(base64 -w 0 "$script")\"}"
  expect "create-auto-scaling-group" groups create-auto-scaling-group --auto-scaling-group-name fleet --min-size 1 --max-size 4 \
    --desired-capacity 2 --vpc-zone-identifier "$subnet" --launch-template LaunchTemplateName=web --target-group-arns "$group" \
    --tags Key=Name,Value=fleet,PropagateAtLaunch=true
  becomes "$guest_seconds_max" "two guests of it serve beside the one that is left" health_is healthy healthy healthy
  expect "set-desired-capacity" groups set-desired-capacity --auto-scaling-group-name fleet --desired-capacity 3
  becomes "$guest_seconds_max" "a third comes and serves" health_is healthy healthy healthy healthy
  equals "clients get answers from each" 4 "$(for _ in 1 2 3 4 5 6 7 8; do ask_balancer /; done | sort -u | grep -c .)"
  gone=$(groups describe-auto-scaling-groups --auto-scaling-group-names fleet --query 'AutoScalingGroups[0].Instances[0].InstanceId' --output text)
  expect "one of them is terminated" aws ec2 terminate-instances --instance-ids "$gone"
  becomes "$guest_seconds_max" "another takes its place" replaced "$gone"
  becomes "$guest_seconds_max" "and serves" health_is healthy healthy healthy healthy
  expect "delete-auto-scaling-group" groups delete-auto-scaling-group --auto-scaling-group-name fleet --force-delete
  becomes "$guest_seconds_max" "it goes" group_is_gone
  expect "delete-launch-template" aws ec2 delete-launch-template --launch-template-name web
  becomes 30 "its guests are no targets any longer" health_is healthy
}

group_is_gone() { [ -z "$(groups describe-auto-scaling-groups --auto-scaling-group-names fleet --query 'AutoScalingGroups[].Status' --output text)" ]; }

# replaced ID: three are in service, and it is none of them.
replaced() {
  local found
  found=$(groups describe-auto-scaling-groups --auto-scaling-group-names fleet \
    --query 'AutoScalingGroups[0].Instances[?LifecycleState==`InService`].InstanceId' --output text)
  echo "$found"
  [ "$(wc -w <<<"$found")" = 3 ] && ! grep -q "$1" <<<"$found"
}

elb() { aws elbv2 "$@"; }

# one FILTER COMMAND...: one value of an answer, as text.
one() {
  local filter=$1
  shift
  elb "$@" --query "$filter" --output text
}

a_balancer() {
  local vpc
  subnet=$(query 'Subnets[0].SubnetId' describe-subnets --filters Name=default-for-az,Values=true)
  vpc=$(query 'Subnets[0].VpcId' describe-subnets --subnet-ids "$subnet")
  expect "create-target-group" elb create-target-group --name web --protocol HTTP --port 80 --vpc-id "$vpc" \
    --health-check-interval-seconds 5 --health-check-timeout-seconds 2 --healthy-threshold-count 2 --unhealthy-threshold-count 2
  group=$(jq -r '.TargetGroups[0].TargetGroupArn' <<<"$out")
  expect "register-targets" elb register-targets --target-group-arn "$group" --targets "Id=${webs[0]}" "Id=${webs[1]}"
  equals "nothing sends to them yet" unused "$(one 'TargetHealthDescriptions[0].TargetHealth.State' describe-target-health --target-group-arn "$group")"
  expect "create-load-balancer" elb create-load-balancer --name front --scheme internal --subnets "$subnet"
  balancer=$(jq -r '.LoadBalancers[0].LoadBalancerArn' <<<"$out")
  name=$(jq -r '.LoadBalancers[0].DNSName' <<<"$out")
  expect "create-listener" elb create-listener --load-balancer-arn "$balancer" --protocol HTTP --port 80 \
    --default-actions "Type=forward,TargetGroupArn=$group"
  listener=$(jq -r '.Listeners[0].ListenerArn' <<<"$out")
  expect "wait load-balancer-available" elb wait load-balancer-available --load-balancer-arns "$balancer"
  becomes "$guest_seconds_max" "both targets are healthy" health_is healthy healthy
  expect "wait target-in-service" elb wait target-in-service --target-group-arn "$group"
  equals "clients get answers from each by its name" 2 "$(for _ in 1 2 3 4; do ask_balancer /; done | sort -u | grep -c .)"
}

# health_is STATE...: of all targets, in any order.
health_is() {
  local found wanted
  found=$(one 'TargetHealthDescriptions[].TargetHealth.State' describe-target-health --target-group-arn "$group" | tr '\t' '\n' | sort | xargs)
  wanted=$(printf '%s\n' "$@" | sort | xargs)
  echo "$found"
  [ "$found" = "$wanted" ]
}

# ask_balancer PATH: what a client in the VPC is told. Debian's busybox wget crashes on its own -T.
ask_balancer() { corten exec client -- timeout 5 wget -q -O - "http://$name$1"; }

# headers PATH: the head of an answer, whatever it says.
headers() { corten exec client -- sh -c "printf 'GET $1 HTTP/1.0\r\nHost: www.test\r\n\r\n' | timeout 5 nc $name 80" | tr -d '\r'; }

answers_of_its_own() {
  expect "a rule that redirects" elb create-rule --listener-arn "$listener" --priority 10 \
    --conditions Field=path-pattern,Values='/old/*' --actions \
    '[{"Type": "redirect", "RedirectConfig": {"Host": "new.test", "Path": "/was/#{path}", "StatusCode": "HTTP_301"}}]'
  expect "a rule that answers" elb create-rule --listener-arn "$listener" --priority 20 \
    --conditions Field=http-header,HttpHeaderConfig='{HttpHeaderName=Host,Values=[www.*]}' Field=path-pattern,Values=/closed \
    --actions "[{\"Type\": \"fixed-response\", \"FixedResponseConfig\": {\"StatusCode\": \"410\", \"ContentType\": \"text/plain\", \"MessageBody\": \"it's closed\"}}]"
  becomes 20 "clients are sent elsewhere" matches '^[Ll]ocation: http://new.test/was/old/page' headers /old/page
  becomes 20 "and are answered" matches "^it's closed" headers /closed
  says "with the status that was asked for" '^HTTP/1.[01] 410'
  becomes 10 "the others are as before" answered
}

answered() { [ -n "$(ask_balancer /)" ]; }

# As a guest does that crashes.
one_target_dies() {
  local left
  expect "a target stops serving" guest "$scratch/web.key" "${webs[0]}" 'killall httpd'
  becomes 30 "it is found out" health_is healthy unhealthy
  left=$(for _ in 1 2 3 4 5 6; do ask_balancer /; done | sort -u)
  equals "traffic goes on, to the other" 1 "$(grep -c . <<<"$left")"
  expect "stop-instances" aws ec2 stop-instances --instance-ids "${webs[0]}"
  becomes "$guest_seconds_max" "one that is stopped is unused" health_is healthy unused
  expect "deregister-targets" elb deregister-targets --target-group-arn "$group" --targets "Id=${webs[0]}"
  becomes 10 "one is left" health_is healthy
  expect "and answers" ask_balancer /
}

balanced_ends() {
  expect_failure "a group in use stays" elb delete-target-group --target-group-arn "$group"
  says "with AWS's code" '\(ResourceInUse\)'
  expect "delete-load-balancer" elb delete-load-balancer --load-balancer-arn "$balancer"
  expect "wait load-balancers-deleted" elb wait load-balancers-deleted --load-balancer-arns "$balancer"
  becomes 10 "the group can go then" elb delete-target-group --target-group-arn "$group"
  expect "terminate-instances" aws ec2 terminate-instances --instance-ids "${webs[@]}"
  expect "wait instance-terminated" aws ec2 wait instance-terminated --instance-ids "${webs[@]}"
  expect "delete-key-pair" aws ec2 delete-key-pair --key-name web
  expect "the client goes" corten rm client
}
