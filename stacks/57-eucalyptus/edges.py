"""Edges of networks through boto3: network ACLs, DHCP options, and interfaces in instances."""

import time

from volumes import tags

EVERYONE = "0.0.0.0/0"


class Edges:
    """`tools` are check, equal and refused of the one who calls."""

    def __init__(self, tools, ec2, image):
        self.check, self.equal, self.refused = tools
        self.ec2, self.image = ec2, image

    def run(self):
        ec2 = self.ec2
        vpc = ec2.create_vpc(CidrBlock="10.72.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.72.1.0/24")["Subnet"]["SubnetId"]
        self.acls(vpc, subnet)
        self.default_acl(vpc, subnet)
        self.options(vpc)
        self.cards(subnet)
        ec2.delete_subnet(SubnetId=subnet)
        ec2.delete_vpc(VpcId=vpc)

    def something(self, vpc):
        """For whoever tries what is another's."""
        acl = self.ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
        options = self.ec2.create_dhcp_options(DhcpConfigurations=[{"Key": "domain-name", "Values": ["theirs.example"]}])
        return {"NetworkAclId": acl, "DhcpOptionsId": options["DhcpOptions"]["DhcpOptionsId"]}

    def nothing(self, made):
        self.ec2.delete_network_acl(NetworkAclId=made["NetworkAclId"])
        self.ec2.delete_dhcp_options(DhcpOptionsId=made["DhcpOptionsId"])

    def shown(self, **which):
        return self.ec2.describe_network_acls(**which)["NetworkAcls"]

    def acls(self, vpc, subnet):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        default = self.shown(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])[0]
        equal("a subnet follows the default ACL", (default["VpcId"], default["IsDefault"], len(default["Entries"])), (vpc, True, 4))
        made = ec2.create_network_acl(VpcId=vpc, TagSpecifications=tags("network-acl", Name="edge"))["NetworkAcl"]
        acl = made["NetworkAclId"]
        equal("a new ACL refuses everything", {(e["RuleNumber"], e["RuleAction"], e["Egress"]) for e in made["Entries"]},
              {(32767, "deny", True), (32767, "deny", False)})
        entry = {"NetworkAclId": acl, "RuleNumber": 100, "Protocol": "6", "RuleAction": "allow", "Egress": False,
                 "CidrBlock": EVERYONE, "PortRange": {"From": 80, "To": 443}}
        refused("DryRunOperation", ec2.create_network_acl_entry, **entry, DryRun=True)
        ec2.create_network_acl_entry(**entry)
        refused("NetworkAclEntryAlreadyExists", ec2.create_network_acl_entry, **entry)
        ec2.create_network_acl_entry(NetworkAclId=acl, RuleNumber=110, Protocol="1", RuleAction="deny", Egress=True,
                                     CidrBlock="10.0.0.0/8", IcmpTypeCode={"Type": 8, "Code": -1})
        ec2.create_network_acl_entry(NetworkAclId=acl, RuleNumber=120, Protocol="-1", RuleAction="allow", Egress=True, Ipv6CidrBlock="::/0")
        refused("InvalidParameterValue", ec2.create_network_acl_entry, **{**entry, "RuleNumber": 32767})
        refused("InvalidParameterValue", ec2.create_network_acl_entry, **{**entry, "RuleNumber": 7, "Protocol": "x"})
        refused("MissingParameter", ec2.create_network_acl_entry, **{k: v for k, v in {**entry, "RuleNumber": 7}.items() if k != "PortRange"})
        ec2.replace_network_acl_entry(**{**entry, "RuleAction": "deny", "PortRange": {"From": 22, "To": 22}})
        refused("InvalidNetworkAclEntry.NotFound", ec2.replace_network_acl_entry, **{**entry, "RuleNumber": 9})
        found = self.shown(Filters=[{"Name": "tag:Name", "Values": ["edge"]}, {"Name": "entry.protocol", "Values": ["6"]}])[0]["Entries"]
        of = lambda number: next(e for e in found if e["RuleNumber"] == number)
        equal("a rule that was replaced", (of(100)["RuleAction"], of(100)["PortRange"], of(100)["Egress"]), ("deny", {"From": 22, "To": 22}, False))
        equal("one of ICMP", (of(110)["IcmpTypeCode"], of(110)["CidrBlock"]), ({"Type": 8, "Code": -1}, "10.0.0.0/8"))
        equal("one of IPv6", of(120)["Ipv6CidrBlock"], "::/0")
        ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=120, Egress=True)
        refused("InvalidNetworkAclEntry.NotFound", ec2.delete_network_acl_entry, NetworkAclId=acl, RuleNumber=120, Egress=True)

        first = default["Associations"][0]["NetworkAclAssociationId"]
        second = ec2.replace_network_acl_association(AssociationId=first, NetworkAclId=acl)["NewAssociationId"]
        refused("InvalidAssociationID.NotFound", ec2.replace_network_acl_association, AssociationId=first, NetworkAclId=acl)
        equal("the subnet follows it", [a["SubnetId"] for a in self.shown(NetworkAclIds=[acl])[0]["Associations"]], [subnet])
        refused("DependencyViolation", ec2.delete_network_acl, NetworkAclId=acl)
        refused("DependencyViolation", ec2.delete_vpc, VpcId=vpc)
        other = ec2.create_vpc(CidrBlock="10.73.0.0/16")["Vpc"]["VpcId"]
        theirs = self.shown(Filters=[{"Name": "vpc-id", "Values": [other]}])[0]["NetworkAclId"]
        refused("InvalidParameterValue", ec2.replace_network_acl_association, AssociationId=second, NetworkAclId=theirs)
        ec2.delete_vpc(VpcId=other)
        back = ec2.replace_network_acl_association(AssociationId=second, NetworkAclId=default["NetworkAclId"])["NewAssociationId"]
        equal("and the default one again", back, first)
        ec2.delete_network_acl(NetworkAclId=acl)
        refused("InvalidNetworkAclID.NotFound", ec2.delete_network_acl, NetworkAclId=acl)

    def default_acl(self, vpc, subnet):
        """It has no object until it is changed, and its id stays."""
        ec2, equal, refused = self.ec2, self.equal, self.refused
        mine = {"Filters": [{"Name": "vpc-id", "Values": [vpc]}]}
        acl = self.shown(**mine)[0]["NetworkAclId"]
        ec2.create_tags(Resources=[acl], Tags=[{"Key": "Name", "Value": "main"}])
        ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=100, Egress=False)
        found = self.shown(**mine)
        equal("the default ACL, changed", [(a["NetworkAclId"], a["IsDefault"], len(a["Entries"]), a["Tags"]) for a in found],
              [(acl, True, 3, [{"Key": "Name", "Value": "main"}])])
        equal("is still its subnet's", [a["SubnetId"] for a in found[0]["Associations"]], [subnet])
        refused("CannotDelete", ec2.delete_network_acl, NetworkAclId=acl)

    def options(self, vpc):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        wish = [{"Key": "domain-name", "Values": ["corp.example"]}, {"Key": "domain-name-servers", "Values": ["AmazonProvidedDNS", "10.2.5.1"]},
                {"Key": "ntp-servers", "Values": ["10.2.5.3"]}, {"Key": "netbios-name-servers", "Values": ["10.2.5.4"]},
                {"Key": "netbios-node-type", "Values": ["2"]}]
        made = ec2.create_dhcp_options(DhcpConfigurations=wish, TagSpecifications=tags("dhcp-options", Name="corp"))["DhcpOptions"]
        plain = lambda shown: [{"Key": o["Key"], "Values": [v["Value"] for v in o["Values"]]} for o in shown["DhcpConfigurations"]]
        equal("options are as they were given", plain(made), wish)
        options = made["DhcpOptionsId"]
        equal("found by a value", [o["DhcpOptionsId"] for o in ec2.describe_dhcp_options(
            Filters=[{"Name": "value", "Values": ["corp.example"]}])["DhcpOptions"]], [options])
        for wrong in ({"Key": "colour", "Values": ["red"]}, {"Key": "ntp-servers", "Values": ["x"]},
                      {"Key": "netbios-node-type", "Values": ["3"]}, {"Key": "domain-name", "Values": ["a.b", "c.d"]}):
            refused("InvalidParameterValue", ec2.create_dhcp_options, DhcpConfigurations=[wrong])
        five = [f"10.0.0.{n}" for n in range(5)]
        refused("InvalidParameterValue", ec2.create_dhcp_options, DhcpConfigurations=[{"Key": "ntp-servers", "Values": five}])
        refused("UnsupportedOperation", ec2.create_dhcp_options,
                DhcpConfigurations=[{"Key": "ipv6-address-preferred-lease-time", "Values": ["200"]}])
        ec2.associate_dhcp_options(DhcpOptionsId=options, VpcId=vpc)
        found = ec2.describe_vpcs(Filters=[{"Name": "dhcp-options-id", "Values": [options]}])["Vpcs"]
        equal("the VPC has them", [(v["VpcId"], v["DhcpOptionsId"]) for v in found], [(vpc, options)])
        refused("DependencyViolation", ec2.delete_dhcp_options, DhcpOptionsId=options)
        ec2.associate_dhcp_options(DhcpOptionsId="default", VpcId=vpc)
        equal("and none", ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["DhcpOptionsId"], "default")
        ec2.delete_dhcp_options(DhcpOptionsId=options)
        refused("InvalidDhcpOptionID.NotFound", ec2.associate_dhcp_options, DhcpOptionsId=options, VpcId=vpc)

    def cards(self, subnet):
        """An instance with two cards from the start: the second is detached, lives on, and goes into another."""
        ec2, equal, refused = self.ec2, self.equal, self.refused
        card = lambda index: {"DeviceIndex": index, "SubnetId": subnet, "DeleteOnTermination": True}
        run = {"ImageId": self.image, "InstanceType": "tiny", "MinCount": 1, "MaxCount": 1}
        both = ec2.run_instances(**run, NetworkInterfaces=[card(0), card(1)])["Instances"][0]
        first, second = sorted(both["NetworkInterfaces"], key=lambda n: n["Attachment"]["DeviceIndex"])
        equal("both go along", [n["Attachment"]["DeleteOnTermination"] for n in (first, second)], [True, True])
        other = ec2.run_instances(**run, SubnetId=subnet)["Instances"][0]["InstanceId"]
        instances = [both["InstanceId"], other]
        slow = {"Delay": 1, "MaxAttempts": 120}
        ec2.get_waiter("instance_running").wait(InstanceIds=instances, WaiterConfig=slow)
        attachment, eni = second["Attachment"]["AttachmentId"], second["NetworkInterfaceId"]
        change = {"NetworkInterfaceId": eni, "Attachment": {"AttachmentId": attachment, "DeleteOnTermination": False}}
        ec2.modify_network_interface_attribute(**change)
        state = lambda: ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]
        equal("the second stays", state()["Attachment"]["DeleteOnTermination"], False)
        refused("OperationNotPermitted", ec2.detach_network_interface, AttachmentId=first["Attachment"]["AttachmentId"])
        refused("InvalidAttachmentID.NotFound", ec2.detach_network_interface, AttachmentId="eni-attach-00000000000000000")
        refused("DryRunOperation", ec2.detach_network_interface, AttachmentId=attachment, DryRun=True)
        ec2.detach_network_interface(AttachmentId=attachment, Force=True)
        ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[eni], WaiterConfig=slow)
        # As terraform looks for it, which waits until it is told that it has ended.
        ended = ec2.describe_network_interfaces(Filters=[{"Name": "attachment.attachment-id", "Values": [attachment]}])["NetworkInterfaces"]
        equal("its attachment has ended", [(n["Attachment"]["Status"], n["Status"]) for n in ended], [("detached", "available")])
        refused("InvalidAttachmentID.NotFound", ec2.detach_network_interface, AttachmentId=attachment)
        wish = {"NetworkInterfaceId": eni, "InstanceId": other, "DeviceIndex": 2}
        refused("InvalidParameterValue", ec2.attach_network_interface, **{**wish, "DeviceIndex": 0})
        refused("InvalidInstanceID.NotFound", ec2.attach_network_interface, **{**wish, "InstanceId": "i-00000000000000000"})
        refused("InvalidParameterValue", ec2.attach_network_interface, **{**wish, "DeviceIndex": 99})
        refused("DryRunOperation", ec2.attach_network_interface, **wish, DryRun=True)
        again = ec2.attach_network_interface(**wish)["AttachmentId"]
        self.check("an attachment has an id of its own", again != attachment, again)
        end = time.monotonic() + 60
        while state()["Attachment"]["Status"] != "attached" and time.monotonic() < end:
            time.sleep(0.2)
        found = ec2.describe_network_interfaces(Filters=[{"Name": "attachment.attachment-id", "Values": [again]},
                                                        {"Name": "attachment.status", "Values": ["attached"]}])["NetworkInterfaces"]
        equal("it is the other's", [(n["NetworkInterfaceId"], n["Attachment"]["InstanceId"], n["Attachment"]["DeviceIndex"]) for n in found],
              [(eni, other, 2)])
        shown = ec2.describe_instances(InstanceIds=[other])["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
        equal("which shows both", [n["Attachment"]["DeviceIndex"] for n in shown], [0, 2])
        refused("InvalidNetworkInterface.InUse", ec2.attach_network_interface, **{**wish, "InstanceId": both["InstanceId"]})
        refused("InvalidNetworkInterface.InUse", ec2.delete_network_interface, NetworkInterfaceId=eni)
        ec2.terminate_instances(InstanceIds=instances)
        ec2.get_waiter("instance_terminated").wait(InstanceIds=instances, WaiterConfig=slow)
        ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[eni], WaiterConfig=slow)
        ec2.delete_network_interface(NetworkInterfaceId=eni)
        while ec2.describe_network_interfaces(Filters=[{"Name": "subnet-id", "Values": [subnet]}])["NetworkInterfaces"] and time.monotonic() < end + 60:
            time.sleep(0.2)
