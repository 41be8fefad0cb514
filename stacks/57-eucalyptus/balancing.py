"""ELBv2 through boto3: every action, the codes of what is refused, waiters and pages. What clients of a balancer see is in
`balancing.sh`."""

import subprocess
import time

import boto3
from botocore.config import Config

from shapes import Judge

PLAIN = Config(retries={"max_attempts": 1}, parameter_validation=True)


def certificate(name):
    """A certificate and its key that nobody else knows, as PEM."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-keyout", "/dev/stdout", "-out", "/dev/stdout"],
        check=True, capture_output=True, text=True,
    ).stdout
    at = made.index("-----BEGIN CERTIFICATE-----")
    return made[at:], made[:at]


class Balancing:
    """`tools` are check, equal and refused of the one who calls, `judges` the list that his answers are held by."""

    def __init__(self, tools, judges, ec2):
        self.check, self.equal, self.refused = tools
        self.ec2 = ec2
        self.elb, self.iam = (boto3.client(name, config=PLAIN) for name in ("elbv2", "iam"))
        judges += [Judge(self.elb), Judge(self.iam)]

    def run(self, image):
        vpc = self.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
        mine = [{"Name": "vpc-id", "Values": [vpc]}]
        subnet = self.ec2.describe_subnets(Filters=mine)["Subnets"][0]["SubnetId"]
        group = self.ec2.describe_security_groups(Filters=mine)["SecurityGroups"][0]["GroupId"]
        self.certificates()
        targets = self.groups(vpc)
        balancer = self.balancers(subnet, group)
        listener = self.listeners(balancer, targets)
        self.rules(listener, targets)
        self.attributes(balancer, listener, targets)
        self.tags(balancer, listener, targets)
        self.targets(image, subnet, balancer, targets)
        self.network(subnet, vpc)
        self.ends(balancer, listener, targets)

    def certificates(self):
        iam, refused = self.iam, self.refused
        body, key = certificate("one.test")
        other, _ = certificate("other.test")
        made = iam.upload_server_certificate(ServerCertificateName="one", CertificateBody=body, PrivateKey=key,
                                             Tags=[{"Key": "use", "Value": "test"}])["ServerCertificateMetadata"]
        self.one = made["Arn"]
        refused("EntityAlreadyExists", iam.upload_server_certificate, ServerCertificateName="one", CertificateBody=body, PrivateKey=key)
        refused("KeyPairMismatch", iam.upload_server_certificate, ServerCertificateName="bad", CertificateBody=other, PrivateKey=key)
        refused("MalformedCertificate", iam.upload_server_certificate, ServerCertificateName="bad", CertificateBody="x", PrivateKey=key)
        body, key = certificate("two.test")
        self.two = iam.upload_server_certificate(ServerCertificateName="two", CertificateBody=body, CertificateChain=other,
                                                 PrivateKey=key)["ServerCertificateMetadata"]["Arn"]
        shown = iam.get_server_certificate(ServerCertificateName="two")["ServerCertificate"]
        self.equal("a certificate as it was given", (shown["CertificateBody"], shown["CertificateChain"]), (body.strip(), other.strip()))
        self.check("but not its key", "PRIVATE" not in repr(shown))
        listed = iam.list_server_certificates()["ServerCertificateMetadataList"]
        self.equal("both are listed", [c["ServerCertificateName"] for c in listed], ["one", "two"])
        iam.tag_server_certificate(ServerCertificateName="one", Tags=[{"Key": "b", "Value": "2"}])
        iam.untag_server_certificate(ServerCertificateName="one", TagKeys=["use"])
        self.equal("tags", iam.list_server_certificate_tags(ServerCertificateName="one")["Tags"], [{"Key": "b", "Value": "2"}])
        refused("NoSuchEntity", iam.get_server_certificate, ServerCertificateName="Nobody")

    def groups(self, vpc):
        elb, refused = self.elb, self.refused
        wish = {"Name": "Web", "Protocol": "HTTP", "Port": 80, "VpcId": vpc, "HealthCheckPath": "/health",
                "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2,
                "UnhealthyThresholdCount": 2, "Matcher": {"HttpCode": "200-299,404"}}
        made = elb.create_target_group(**wish, Tags=[{"Key": "a", "Value": "b"}])["TargetGroups"][0]
        self.equal("a target group is as it was asked for", {k: made[k] for k in wish if k != "Name"},
                   {k: v for k, v in wish.items() if k != "Name"})
        self.equal("of instances, unless it is said", (made["TargetGroupName"], made["TargetType"]), ("Web", "instance"))
        self.equal("the same again is the same", elb.create_target_group(**wish)["TargetGroups"][0]["TargetGroupArn"], made["TargetGroupArn"])
        refused("DuplicateTargetGroupName", elb.create_target_group, **{**wish, "Port": 81})
        refused("ValidationError", elb.create_target_group, **{**wish, "Name": "Bad_name"})
        refused("ValidationError", elb.create_target_group, **{**wish, "Name": "x", "VpcId": "vpc-00000000000000000"})
        refused("InvalidConfigurationRequest", elb.create_target_group, Name="x", TargetType="lambda")
        refused("InvalidConfigurationRequest", elb.create_target_group, Name="x", Protocol="GENEVE", Port=6081, VpcId=vpc)
        other = elb.create_target_group(Name="addresses", Protocol="HTTP", Port=8080, VpcId=vpc, TargetType="ip")["TargetGroups"][0]
        self.equal("what AWS has where nothing is said", (other["HealthCheckPath"], other["Matcher"], other["HealthCheckIntervalSeconds"]),
                   ("/", {"HttpCode": "200"}, 30))
        changed = elb.modify_target_group(TargetGroupArn=other["TargetGroupArn"], HealthCheckPort="8081", HealthCheckPath="/x")
        self.equal("a check that was changed", changed["TargetGroups"][0]["HealthCheckPort"], "8081")
        refused("TargetGroupNotFound", elb.describe_target_groups, Names=["nobody"])
        refused("TargetGroupNotFound", elb.describe_target_groups, TargetGroupArns=[made["TargetGroupArn"][:-1] + "x"])
        pages = list(elb.get_paginator("describe_target_groups").paginate(PaginationConfig={"PageSize": 1}))
        self.equal("target groups in pages", [g["TargetGroupName"] for p in pages for g in p["TargetGroups"]], ["Web", "addresses"])
        return made["TargetGroupArn"], other["TargetGroupArn"]

    def balancers(self, subnet, group):
        elb, refused = self.elb, self.refused
        wish = {"Name": "Front", "Subnets": [subnet], "Scheme": "internal", "SecurityGroups": [group]}
        made = elb.create_load_balancer(**wish, Tags=[{"Key": "a", "Value": "b"}])["LoadBalancers"][0]
        self.equal("a load balancer", (made["LoadBalancerName"], made["Type"], made["Scheme"], made["AvailabilityZones"][0]["SubnetId"]),
                   ("Front", "application", "internal", subnet))
        arn = made["LoadBalancerArn"]
        self.equal("the same again is the same", elb.create_load_balancer(**wish)["LoadBalancers"][0]["LoadBalancerArn"], arn)
        refused("DuplicateLoadBalancerName", elb.create_load_balancer, **{**wish, "Type": "network"})
        refused("SubnetNotFound", elb.create_load_balancer, Name="x", Subnets=["subnet-00000000000000000"])
        refused("InvalidSecurityGroup", elb.create_load_balancer, **{**wish, "Name": "x", "SecurityGroups": ["sg-00000000000000000"]})
        refused("ValidationError", elb.create_load_balancer, **{**wish, "Name": "-x"})
        refused("ValidationError", elb.create_load_balancer, **{**wish, "Name": "x", "Type": "gateway"})
        refused("LoadBalancerNotFound", elb.describe_load_balancers, Names=["nobody"])
        refused("LoadBalancerNotFound", elb.describe_load_balancers, LoadBalancerArns=[arn[:-1] + "x"])
        elb.get_waiter("load_balancer_available").wait(LoadBalancerArns=[arn], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        elb.get_waiter("load_balancer_exists").wait(Names=["Front"])
        self.equal("its groups", elb.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[group])["SecurityGroupIds"], [group])
        self.equal("its subnets", elb.set_subnets(LoadBalancerArn=arn, Subnets=[subnet])["AvailabilityZones"][0]["SubnetId"], subnet)
        refused("SubnetNotFound", elb.set_subnets, LoadBalancerArn=arn, Subnets=["subnet-00000000000000000"])
        self.equal("its addresses", elb.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="ipv4")["IpAddressType"] in
                   ("ipv4", "dualstack"), True)
        return arn

    def listeners(self, balancer, targets):
        elb, refused = self.elb, self.refused
        web, other = targets
        forward = [{"Type": "forward", "TargetGroupArn": web}]
        made = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=forward)["Listeners"][0]
        arn = made["ListenerArn"]
        self.equal("a listener forwards", made["DefaultActions"][0]["ForwardConfig"]["TargetGroups"], [{"TargetGroupArn": web, "Weight": 1}])
        refused("DuplicateListener", elb.create_listener, LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=forward)
        refused("UnsupportedProtocol", elb.create_listener, LoadBalancerArn=balancer, Protocol="TCP", Port=81, DefaultActions=forward)
        refused("TargetGroupNotFound", elb.create_listener, LoadBalancerArn=balancer, Protocol="HTTP", Port=81,
                DefaultActions=[{"Type": "forward", "TargetGroupArn": web[:-1] + "x"}])
        refused("CertificateNotFound", elb.create_listener, LoadBalancerArn=balancer, Protocol="HTTPS", Port=443, DefaultActions=forward)
        refused("SSLPolicyNotFound", elb.create_listener, LoadBalancerArn=balancer, Protocol="HTTPS", Port=443, SslPolicy="x",
                Certificates=[{"CertificateArn": self.one}], DefaultActions=forward)
        refused("InvalidConfigurationRequest", elb.create_listener, LoadBalancerArn=balancer, Protocol="HTTP", Port=81, DefaultActions=[
            {"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": web}, {"TargetGroupArn": other}]}}])
        redirect = {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
        plain = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=8080, DefaultActions=[
            {"Type": "redirect", "RedirectConfig": redirect}], Tags=[{"Key": "c", "Value": "d"}])["Listeners"][0]
        self.equal("a listener that redirects", plain["DefaultActions"][0]["RedirectConfig"],
                   {**redirect, "Host": "#{host}", "Path": "/#{path}", "Query": "#{query}"})
        changed = elb.modify_listener(ListenerArn=plain["ListenerArn"], Port=8081, DefaultActions=[
            {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503", "ContentType": "text/plain", "MessageBody": "later"}}])
        changed = changed["Listeners"][0]
        self.equal("one that was changed is the same one", (changed["ListenerArn"], changed["Port"]), (plain["ListenerArn"], 8081))
        refused("DuplicateListener", elb.modify_listener, ListenerArn=arn, Port=8081)
        site = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTPS", Port=443, DefaultActions=forward,
                                   Certificates=[{"CertificateArn": self.one}])["Listeners"][0]
        self.equal("a listener with a certificate", site["Certificates"], [{"CertificateArn": self.one}])
        elb.add_listener_certificates(ListenerArn=site["ListenerArn"], Certificates=[{"CertificateArn": self.two}])
        shown = elb.describe_listener_certificates(ListenerArn=site["ListenerArn"])["Certificates"]
        self.equal("and with another", shown, [{"CertificateArn": self.one, "IsDefault": True}, {"CertificateArn": self.two, "IsDefault": False}])
        refused("OperationNotPermitted", elb.remove_listener_certificates, ListenerArn=site["ListenerArn"],
                Certificates=[{"CertificateArn": self.one}])
        refused("DeleteConflict", self.iam.delete_server_certificate, ServerCertificateName="two")
        elb.remove_listener_certificates(ListenerArn=site["ListenerArn"], Certificates=[{"CertificateArn": self.two}])
        self.iam.delete_server_certificate(ServerCertificateName="two")
        refused("CertificateNotFound", elb.add_listener_certificates, ListenerArn=site["ListenerArn"], Certificates=[{"CertificateArn": self.two}])
        pages = list(elb.get_paginator("describe_listeners").paginate(LoadBalancerArn=balancer, PaginationConfig={"PageSize": 2}))
        self.equal("listeners in pages", ([len(p["Listeners"]) for p in pages]), [2, 1])
        elb.delete_listener(ListenerArn=site["ListenerArn"])
        refused("ListenerNotFound", elb.describe_listeners, ListenerArns=[site["ListenerArn"]])
        self.iam.delete_server_certificate(ServerCertificateName="one")
        elb.delete_listener(ListenerArn=plain["ListenerArn"])
        return arn

    def rules(self, listener, targets):
        elb, refused = self.elb, self.refused
        _, other = targets
        forward = [{"Type": "forward", "TargetGroupArn": other}]
        conditions = [
            {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.org", "a.test"]}},
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Team", "Values": ["a*"]}},
            {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "k", "Value": "v*"}, {"Value": "w"}]}},
            {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET"]}},
            {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}},
        ]
        rich = elb.create_rule(ListenerArn=listener, Priority=20, Conditions=conditions, Actions=forward)["Rules"][0]
        self.equal("all conditions are as they were given", [{k: v for k, v in c.items() if k != "Values"} for c in rich["Conditions"]], conditions)
        path = [{"Field": "path-pattern", "Values": ["/v1/*"]}]
        short = elb.create_rule(ListenerArn=listener, Priority=10, Conditions=path, Actions=forward, Tags=[{"Key": "a", "Value": "b"}])["Rules"][0]
        refused("PriorityInUse", elb.create_rule, ListenerArn=listener, Priority=10, Conditions=path, Actions=forward)
        refused("ValidationError", elb.create_rule, ListenerArn=listener, Priority=11, Actions=forward, Conditions=[{"Field": "weather", "Values": ["x"]}])
        refused("ValidationError", elb.create_rule, ListenerArn=listener, Priority=11, Actions=forward, Conditions=[{"Field": "path-pattern", "Values": ["/'"]}])
        refused("InvalidConfigurationRequest", elb.create_rule, ListenerArn=listener, Priority=11, Actions=forward,
                Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"RegexValues": ["^/a$"]}}])
        listed = elb.describe_rules(ListenerArn=listener)["Rules"]
        self.equal("rules in order, the default last", [r["Priority"] for r in listed], ["10", "20", "default"])
        pages = list(elb.get_paginator("describe_rules").paginate(ListenerArn=listener, PaginationConfig={"PageSize": 2}))
        self.equal("rules in pages", [r["Priority"] for p in pages for r in p["Rules"]], ["10", "20", "default"])
        changed = elb.modify_rule(RuleArn=short["RuleArn"], Conditions=[{"Field": "path-pattern", "Values": ["/v2"]}], Actions=[
            {"Type": "redirect", "RedirectConfig": {"Host": "new.test", "Path": "/", "Query": "", "StatusCode": "HTTP_302"}}])["Rules"][0]
        self.equal("a rule that was changed", (changed["Conditions"][0]["Values"], changed["Actions"][0]["RedirectConfig"]["Query"]), (["/v2"], ""))
        moved = elb.set_rule_priorities(RulePriorities=[{"RuleArn": short["RuleArn"], "Priority": 20}, {"RuleArn": rich["RuleArn"], "Priority": 10}])
        self.equal("priorities change places", [r["Priority"] for r in moved["Rules"]], ["20", "10"])
        refused("PriorityInUse", elb.set_rule_priorities, RulePriorities=[{"RuleArn": short["RuleArn"], "Priority": 10}])
        default = listed[-1]["RuleArn"]
        refused("OperationNotPermitted", elb.delete_rule, RuleArn=default)
        refused("OperationNotPermitted", elb.set_rule_priorities, RulePriorities=[{"RuleArn": default, "Priority": 1}])
        self.equal("a rule by its ARN", elb.describe_rules(RuleArns=[rich["RuleArn"]])["Rules"][0]["Priority"], "10")
        self.equal("its tags", elb.describe_tags(ResourceArns=[short["RuleArn"]])["TagDescriptions"][0]["Tags"], [{"Key": "a", "Value": "b"}])
        elb.delete_rule(RuleArn=short["RuleArn"])
        refused("RuleNotFound", elb.describe_rules, RuleArns=[short["RuleArn"]])
        refused("RuleNotFound", elb.delete_rule, RuleArn=short["RuleArn"])
        refused("ResourceInUse", elb.delete_target_group, TargetGroupArn=other)
        elb.delete_rule(RuleArn=rich["RuleArn"])

    def attributes(self, balancer, listener, targets):
        elb, refused = self.elb, self.refused
        read = lambda answer: {a["Key"]: a["Value"] for a in answer["Attributes"]}
        of = read(elb.describe_load_balancer_attributes(LoadBalancerArn=balancer))
        self.equal("how long a connection may be silent", of["idle_timeout.timeout_seconds"], "60")
        change = lambda key, value: {"LoadBalancerArn": balancer, "Attributes": [{"Key": key, "Value": value}]}
        of = read(elb.modify_load_balancer_attributes(**change("idle_timeout.timeout_seconds", "120")))
        self.equal("is changed", of["idle_timeout.timeout_seconds"], "120")
        elb.modify_load_balancer_attributes(**change("routing.http2.enabled", "true"))
        refused("InvalidConfigurationRequest", elb.modify_load_balancer_attributes, **change("routing.http2.enabled", "false"))
        refused("InvalidConfigurationRequest", elb.modify_load_balancer_attributes, **change("no.such", "1"))
        elb.modify_load_balancer_attributes(**change("deletion_protection.enabled", "true"))
        refused("OperationNotPermitted", elb.delete_load_balancer, LoadBalancerArn=balancer)
        elb.modify_load_balancer_attributes(**change("deletion_protection.enabled", "false"))
        own = read(elb.describe_listener_attributes(ListenerArn=listener))
        elb.modify_listener_attributes(ListenerArn=listener, Attributes=[{"Key": k, "Value": v} for k, v in own.items()])
        refused("InvalidConfigurationRequest", elb.modify_listener_attributes, ListenerArn=listener, Attributes=[{"Key": "x", "Value": "y"}])
        web = {"TargetGroupArn": targets[0]}
        self.equal("the delay of targets that leave", read(elb.describe_target_group_attributes(**web))["deregistration_delay.timeout_seconds"], "300")
        changed = read(elb.modify_target_group_attributes(**web, Attributes=[
            {"Key": "load_balancing.algorithm.type", "Value": "least_outstanding_requests"},
            {"Key": "deregistration_delay.timeout_seconds", "Value": "10"}]))
        self.equal("the algorithm", changed["load_balancing.algorithm.type"], "least_outstanding_requests")
        refused("InvalidConfigurationRequest", elb.modify_target_group_attributes, **web, Attributes=[
            {"Key": "slow_start.duration_seconds", "Value": "30"}])

    def tags(self, balancer, listener, targets):
        elb, refused = self.elb, self.refused
        everything = [balancer, listener, targets[0]]
        elb.add_tags(ResourceArns=everything, Tags=[{"Key": "Über", "Value": "a & b"}])
        found = elb.describe_tags(ResourceArns=everything)["TagDescriptions"]
        self.equal("tags of all kinds", [{"Key": "Über", "Value": "a & b"} in d["Tags"] for d in found], [True] * 3)
        elb.remove_tags(ResourceArns=everything, TagKeys=["Über"])
        found = elb.describe_tags(ResourceArns=everything)["TagDescriptions"]
        self.equal("which go", [len(d["Tags"]) for d in found], [1, 0, 1])
        refused("ListenerNotFound", elb.describe_tags, ResourceArns=[listener[:-1] + "x"])
        refused("ValidationError", elb.add_tags, ResourceArns=["x"], Tags=[{"Key": "a", "Value": "b"}])

    def targets(self, image, subnet, balancer, targets):
        """Nobody listens in these guests: that is how they do."""
        elb, refused = self.elb, self.refused
        web, addresses = targets
        guest = self.ec2.run_instances(ImageId=image, InstanceType="tiny", MinCount=1, MaxCount=1, SubnetId=subnet)["Instances"][0]["InstanceId"]
        elb.register_targets(TargetGroupArn=web, Targets=[{"Id": guest}, {"Id": guest, "Port": 81}])
        elb.register_targets(TargetGroupArn=web, Targets=[{"Id": guest, "Port": 80}])
        health = elb.describe_target_health(TargetGroupArn=web)["TargetHealthDescriptions"]
        self.equal("an instance at two ports", [(d["Target"]["Id"], d["Target"]["Port"]) for d in health], [(guest, 80), (guest, 81)])
        refused("InvalidTarget", elb.register_targets, TargetGroupArn=web, Targets=[{"Id": "i-00000000000000000"}])
        refused("InvalidTarget", elb.register_targets, TargetGroupArn=web, Targets=[{"Id": "10.0.0.9"}])
        refused("InvalidTarget", elb.register_targets, TargetGroupArn=addresses, Targets=[{"Id": guest}])
        unknown = elb.describe_target_health(TargetGroupArn=web, Targets=[{"Id": guest, "Port": 99}])["TargetHealthDescriptions"]
        self.equal("one that is no target", unknown[0]["TargetHealth"]["Reason"], "Target.NotRegistered")
        self.ec2.get_waiter("instance_running").wait(InstanceIds=[guest], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        state = None
        for _ in range(120):
            state = elb.describe_target_health(TargetGroupArn=web, Targets=[{"Id": guest, "Port": 81}])["TargetHealthDescriptions"][0]["TargetHealth"]
            if state["State"] == "unhealthy":
                break
            time.sleep(0.5)
        self.equal("nobody listens there", state["State"], "unhealthy")
        elb.register_targets(TargetGroupArn=addresses, Targets=[{"Id": "10.0.0.9"}])
        idle = elb.describe_target_health(TargetGroupArn=addresses)["TargetHealthDescriptions"][0]["TargetHealth"]
        self.equal("of a group that nothing sends to", (idle["State"], idle["Reason"]), ("unused", "Target.NotInUse"))
        elb.deregister_targets(TargetGroupArn=addresses, Targets=[{"Id": "10.0.0.9"}])
        elb.deregister_targets(TargetGroupArn=web, Targets=[{"Id": guest, "Port": 81}])
        left = elb.describe_target_health(TargetGroupArn=web)["TargetHealthDescriptions"]
        self.equal("one is left", [d["Target"]["Port"] for d in left], [80])
        elb.deregister_targets(TargetGroupArn=web, Targets=[{"Id": guest}])
        elb.get_waiter("target_deregistered").wait(TargetGroupArn=web, Targets=[{"Id": guest}], WaiterConfig={"Delay": 1})
        self.ec2.terminate_instances(InstanceIds=[guest])
        self.ec2.get_waiter("instance_terminated").wait(InstanceIds=[guest], WaiterConfig={"Delay": 1, "MaxAttempts": 120})

    def network(self, subnet, vpc):
        """One for connections, at an address of the outside."""
        elb, refused = self.elb, self.refused
        group = elb.create_target_group(Name="tcp", Protocol="TCP", Port=22, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
        address = self.ec2.allocate_address()
        made = elb.create_load_balancer(Name="outer", Type="network", SubnetMappings=[
            {"SubnetId": subnet, "AllocationId": address["AllocationId"]}])["LoadBalancers"][0]
        self.equal("it is reached at its address", (made["DNSName"], made["Scheme"]), (address["PublicIp"], "internet-facing"))
        self.equal("which it tells", made["AvailabilityZones"][0]["LoadBalancerAddresses"][0]["AllocationId"], address["AllocationId"])
        arn = made["LoadBalancerArn"]
        refused("UnsupportedProtocol", elb.create_listener, LoadBalancerArn=arn, Protocol="HTTP", Port=80,
                DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])
        elb.create_listener(LoadBalancerArn=arn, Protocol="TCP", Port=22, DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])
        web = elb.describe_target_groups(Names=["Web"])["TargetGroups"][0]["TargetGroupArn"]
        refused("IncompatibleProtocols", elb.create_listener, LoadBalancerArn=arn, Protocol="TCP", Port=23,
                DefaultActions=[{"Type": "forward", "TargetGroupArn": web}])
        used = elb.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]
        self.equal("the groups of a balancer", [(g["TargetGroupArn"], g["LoadBalancerArns"]) for g in used], [(group, [arn])])
        elb.get_waiter("load_balancer_available").wait(LoadBalancerArns=[arn], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        refused("InvalidIPAddress.InUse", self.ec2.release_address, AllocationId=address["AllocationId"])
        own = elb.create_load_balancer(Name="given", Type="network", Subnets=[subnet])["LoadBalancers"][0]
        self.check("one without an address gets one", own["DNSName"] and own["DNSName"] != address["PublicIp"], own)
        listed = [a["PublicIp"] for a in self.ec2.describe_addresses()["Addresses"]]
        self.equal("which is no elastic address", own["DNSName"] in listed, False)
        for balancer in (arn, own["LoadBalancerArn"]):
            elb.delete_load_balancer(LoadBalancerArn=balancer)
        elb.get_waiter("load_balancers_deleted").wait(Names=["outer"], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        for _ in range(60):
            if not any(a.get("AssociationId") for a in self.ec2.describe_addresses()["Addresses"]):
                break
            time.sleep(0.5)
        self.ec2.release_address(AllocationId=address["AllocationId"])
        elb.delete_target_group(TargetGroupArn=group)

    def ends(self, balancer, listener, targets):
        elb = self.elb
        elb.delete_listener(ListenerArn=listener)
        for group in targets:
            elb.delete_target_group(TargetGroupArn=group)
        elb.delete_load_balancer(LoadBalancerArn=balancer)
        elb.delete_load_balancer(LoadBalancerArn=balancer)
        self.refused("LoadBalancerNotFound", elb.describe_load_balancers, LoadBalancerArns=[balancer])

    def something(self):
        """One of everything, for others to try."""
        elb = self.elb
        default = self.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]
        balancer = elb.create_load_balancer(Name="theirs", Scheme="internal", Subnets=[default["SubnetId"]])["LoadBalancers"][0]["LoadBalancerArn"]
        group = elb.create_target_group(Name="theirs", Protocol="HTTP", Port=80, VpcId=default["VpcId"])["TargetGroups"][0]["TargetGroupArn"]
        forward = [{"Type": "forward", "TargetGroupArn": group}]
        listener = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=forward)["Listeners"][0]["ListenerArn"]
        rule = elb.create_rule(ListenerArn=listener, Priority=1, Actions=forward, Conditions=[{"Field": "path-pattern", "Values": ["/x"]}])
        body, key = certificate("theirs.test")
        made = self.iam.upload_server_certificate(ServerCertificateName="theirs-too", CertificateBody=body, PrivateKey=key)
        return {"LoadBalancerArn": balancer, "TargetGroupArn": group, "ListenerArn": listener, "RuleArn": rule["Rules"][0]["RuleArn"],
                "ResourceArn": balancer, "CertificateArn": made["ServerCertificateMetadata"]["Arn"], "ServerCertificateName": "theirs-too"}

    def nothing(self, made):
        self.elb.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])
        for _ in range(60):
            try:
                self.elb.delete_target_group(TargetGroupArn=made["TargetGroupArn"])
                break
            except self.elb.exceptions.ResourceInUseException:
                time.sleep(0.5)
        self.iam.delete_server_certificate(ServerCertificateName=made["ServerCertificateName"])
