"""Every action that the cloud says it has, called through boto3 as a user would, one family after the other."""

import base64
import os
import re
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from balancing import Balancing
from edges import Edges
from endpoints import Endpoints
from flows import Flows
from generated import Generated
from identities import EC2_TRUST, Identities
from images import Images
from metrics import Metrics
from scaling import Scaling
from networks import Networks
from placement import Placement
from shapes import Judge
from signer import Signer
from tools import Tools
from volumes import Volumes

config = Config(retries={"max_attempts": 1}, parameter_validation=True)
ec2 = boto3.client("ec2", config=config)
sts = boto3.client("sts", config=config)
judges = [Judge(ec2), Judge(sts)]
failures = []


def check(what, ok, detail=""):
    if not ok:
        failures.append(f"{what}: {detail}")
        print(f"not so: {what}: {detail}")


def equal(what, found, expected):
    check(what, found == expected, f"{found!r}, not {expected!r}")


def refused(code, call, **arguments):
    try:
        call(**arguments)
        check(f"{code} of {call.__name__}", False, "it succeeded")
    except ClientError as error:
        equal(f"the code of {call.__name__}", error.response["Error"]["Code"], code)


def tags(kind, **named):
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in named.items()]}]


def places():
    account = sts.get_caller_identity()["Account"]
    check("an account has twelve digits", re.match(r"^\d{12}$", account), account)
    equal("regions", [r["RegionName"] for r in ec2.describe_regions()["Regions"]], ["my-corten-1"])
    equal("zones", len(ec2.describe_availability_zones()["AvailabilityZones"]), 1)
    names = {a["AttributeName"] for a in ec2.describe_account_attributes()["AccountAttributes"]}
    check("account attributes", "default-vpc" in names, names)
    pages = list(ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 5}))
    sizes = {t["InstanceType"]: t for page in pages for t in page["InstanceTypes"]}
    check("sizes come in pages", len(pages) > 1 and "t3.micro" in sizes, sizes.keys())
    check("no size is burstable", not any(t["BurstablePerformanceSupported"] for t in sizes.values()))
    offered = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["m5.*"]}]
    )["InstanceTypeOfferings"]
    check("offerings", {o["Location"] for o in offered} == {"my-corten-1a"}, offered)
    refused("InvalidInstanceType", ec2.describe_instance_types, InstanceTypes=["z9.huge"])


def keys():
    made = ec2.create_key_pair(KeyName="My first key", TagSpecifications=tags("key-pair", use="test"))
    check("an RSA key", "BEGIN RSA PRIVATE KEY" in made["KeyMaterial"])
    public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGSTLFSAhYhqIXoPbtwW2hDKbNJNpqVYpAGqBLdqoIhW me"
    ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=public.encode())
    found = ec2.describe_key_pairs(Filters=[{"Name": "tag:use", "Values": ["test"]}], IncludePublicKey=True)
    equal("a key pair by its tag", [k["KeyName"] for k in found["KeyPairs"]], ["My first key"])
    equal("by its id", ec2.describe_key_pairs(KeyPairIds=[made["KeyPairId"]])["KeyPairs"][0]["KeyType"], "rsa")
    refused("InvalidKeyPair.NotFound", ec2.describe_key_pairs, KeyNames=["nobody"])
    refused("InvalidKey.Format", ec2.import_key_pair, KeyName="bad", PublicKeyMaterial=b"nonsense")
    ec2.delete_key_pair(KeyPairId=made["KeyPairId"])
    ec2.delete_key_pair(KeyName="mine")
    ec2.delete_key_pair(KeyName="mine")


def images():
    image = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["tiny"]}])["Images"][0]["ImageId"]
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"Group": "all"}]})
    shared = ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")
    equal("an image for all", shared["LaunchPermissions"], [{"Group": "all"}])
    ec2.reset_image_attribute(ImageId=image, Attribute="launchPermission")
    ec2.modify_image_attribute(ImageId=image, Description={"Value": "small"})
    equal("its description", ec2.describe_images(ImageIds=[image])["Images"][0]["Description"], "small")
    made = ec2.register_image(Name="Remote <1>", ImageLocation="https://example.org/disk.qcow2")["ImageId"]
    equal("its name", ec2.describe_images(ImageIds=[made])["Images"][0]["Name"], "Remote <1>")
    refused("InvalidAMIName.Duplicate", ec2.register_image, Name="Remote <1>", ImageLocation="https://example.org/a.iso")
    ec2.deregister_image(ImageId=made)
    refused("InvalidAMIID.NotFound", ec2.describe_images, ImageIds=[made])
    return image


def network():
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16", TagSpecifications=tags("vpc", Name="net"))["Vpc"]
    vpc_id, mine = vpc["VpcId"], [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    equal("a VPC has its range", vpc["CidrBlock"], "10.20.0.0/16")
    ec2.get_waiter("vpc_available").wait(VpcIds=[vpc_id])
    main = ec2.describe_route_tables(Filters=mine + [{"Name": "association.main", "Values": ["true"]}])["RouteTables"]
    equal("it has a main route table", len(main), 1)
    equal("which leads to itself", main[0]["Routes"][0]["GatewayId"], "local")
    groups = ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
    equal("and a default group", [g["GroupName"] for g in groups], ["default"])
    for attribute in ("enableDnsSupport", "enableDnsHostnames", "enableNetworkAddressUsageMetrics"):
        ec2.describe_vpc_attribute(VpcId=vpc_id, Attribute=attribute)
    ec2.modify_vpc_attribute(VpcId=vpc_id, EnableDnsSupport={"Value": False})
    off = ec2.describe_vpc_attribute(VpcId=vpc_id, Attribute="enableDnsSupport")["EnableDnsSupport"]["Value"]
    equal("names are switched off", off, False)
    ec2.modify_vpc_attribute(VpcId=vpc_id, EnableDnsSupport={"Value": True})
    ec2.modify_vpc_attribute(VpcId=vpc_id, EnableDnsHostnames={"Value": True})
    refused("DefaultVpcAlreadyExists", ec2.create_default_vpc)

    subnet = ec2.create_subnet(
        VpcId=vpc_id, CidrBlock="10.20.1.0/24", AvailabilityZone="my-corten-1a", TagSpecifications=tags("subnet", Name="a")
    )["Subnet"]
    ec2.get_waiter("subnet_available").wait(SubnetIds=[subnet["SubnetId"]])
    equal("free addresses", subnet["AvailableIpAddressCount"], 251)
    refused("InvalidSubnet.Conflict", ec2.create_subnet, VpcId=vpc_id, CidrBlock="10.20.1.128/25")
    refused("InvalidSubnet.Range", ec2.create_subnet, VpcId=vpc_id, CidrBlock="10.21.0.0/24")
    refused("DependencyViolation", ec2.delete_vpc, VpcId=vpc_id)

    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc_id)
    refused("Resource.AlreadyAssociated", ec2.attach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc_id)
    refused("DependencyViolation", ec2.delete_internet_gateway, InternetGatewayId=gateway)
    found = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc_id]}])
    equal("the gateway is attached", [g["InternetGatewayId"] for g in found["InternetGateways"]], [gateway])
    return vpc_id, subnet["SubnetId"], gateway, main[0]["RouteTableId"]


def routes(vpc_id, subnet, gateway, main):
    table = ec2.create_route_table(VpcId=vpc_id, TagSpecifications=tags("route-table", Name="out"))["RouteTable"]
    table = table["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    allocation = ec2.allocate_address()["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocation)["NatGateway"]["NatGatewayId"]
    ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[nat])
    refused("RouteAlreadyExists", ec2.create_route, RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    shown = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]
    equal("the route leads to the NAT gateway", shown["Routes"][-1]["NatGatewayId"], nat)
    first = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)["AssociationId"]
    second = ec2.replace_route_table_association(AssociationId=first, RouteTableId=main)["NewAssociationId"]
    check("an association has an id of its own", first != second, second)
    refused("InvalidAssociationID.NotFound", ec2.disassociate_route_table, AssociationId=first)
    ec2.disassociate_route_table(AssociationId=second)
    of_main = ec2.describe_route_tables(RouteTableIds=[main])["RouteTables"][0]["Associations"][0]
    moved = ec2.replace_route_table_association(
        AssociationId=of_main["RouteTableAssociationId"], RouteTableId=table
    )["NewAssociationId"]
    refused("DependencyViolation", ec2.delete_route_table, RouteTableId=table)
    ec2.replace_route_table_association(AssociationId=moved, RouteTableId=main)
    refused("DependencyViolation", ec2.delete_nat_gateway, NatGatewayId=nat)
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    refused("InvalidRoute.NotFound", ec2.delete_route, RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    ec2.delete_nat_gateway(NatGatewayId=nat)
    refused("NatGatewayNotFound", ec2.describe_nat_gateways, NatGatewayIds=[nat])
    ec2.release_address(AllocationId=allocation)
    ec2.delete_route_table(RouteTableId=table)


def groups(vpc_id):
    group = ec2.create_security_group(
        GroupName="Web servers", Description="what serves", VpcId=vpc_id, TagSpecifications=tags("security-group", x="1")
    )["GroupId"]
    refused("InvalidGroup.Duplicate", ec2.create_security_group, GroupName="Web servers", Description="x", VpcId=vpc_id)
    web = {
        "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
        "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "everyone"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
        "UserIdGroupPairs": [{"GroupId": group}],
    }
    rules = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[web])["SecurityGroupRules"]
    equal("one permission is three rules", len(rules), 3)
    refused("InvalidPermission.Duplicate", ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[web])
    shown = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    equal("which are shown as one", len(shown["IpPermissions"]), 1)
    equal("to everyone", shown["IpPermissions"][0]["IpRanges"], [{"CidrIp": "0.0.0.0/0", "Description": "everyone"}])
    equal("a new group lets everything out", shown["IpPermissionsEgress"][0]["IpProtocol"], "-1")
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[everything])
    refused("InvalidPermission.NotFound", ec2.revoke_security_group_egress, GroupId=group, IpPermissions=[everything])
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[everything])
    ids = [r["SecurityGroupRuleId"] for r in rules]
    single = ec2.describe_security_group_rules(SecurityGroupRuleIds=ids[:1])["SecurityGroupRules"][0]
    equal("a rule by its id", single["CidrIpv4"], "0.0.0.0/0")
    ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[{
        "SecurityGroupRuleId": ids[0],
        "SecurityGroupRule": {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "CidrIpv4": "10.0.0.0/8"},
    }])
    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=ids[1:])
    refused("InvalidSecurityGroupRuleId.NotFound", ec2.revoke_security_group_ingress, GroupId=group, SecurityGroupRuleIds=ids[1:])
    left = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    equal("what is left", sorted(r["FromPort"] for r in left), [-1, 8080])
    return group


def interfaces(subnet, group):
    made = ec2.create_network_interface(SubnetId=subnet, Groups=[group], Description="spare", PrivateIpAddress="10.20.1.9")
    eni = made["NetworkInterface"]["NetworkInterfaceId"]
    ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[eni])
    refused("InvalidIPAddress.InUse", ec2.create_network_interface, SubnetId=subnet, PrivateIpAddress="10.20.1.9")
    refused("DependencyViolation", ec2.delete_security_group, GroupId=group)
    refused("DependencyViolation", ec2.delete_subnet, SubnetId=subnet)
    ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=["10.20.1.10"])
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=["10.20.1.10"])
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Description={"Value": "mine"})
    for attribute in ("description", "sourceDestCheck", "groupSet", "attachment"):
        ec2.describe_network_interface_attribute(NetworkInterfaceId=eni, Attribute=attribute)
    address = ec2.allocate_address(TagSpecifications=tags("elastic-ip", Name="front"))["AllocationId"]
    association = ec2.associate_address(AllocationId=address, NetworkInterfaceId=eni)["AssociationId"]
    shown = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]
    equal("its address of the outside", shown["Association"]["AssociationId"], association)
    equal("its own", (shown["PrivateIpAddress"], shown["SourceDestCheck"], shown["Description"]), ("10.20.1.9", False, "mine"))
    ec2.describe_addresses(Filters=[{"Name": "tag:Name", "Values": ["front"]}])
    named = ec2.describe_addresses_attribute(AllocationIds=[address], Attribute="domain-name")["Addresses"]
    equal("it has no name outside", [(a["AllocationId"], a.get("PtrRecord")) for a in named], [(address, None)])
    ec2.disassociate_address(AssociationId=association)
    refused("InvalidAssociationID.NotFound", ec2.disassociate_address, AssociationId=association)
    ec2.release_address(AllocationId=address)
    refused("InvalidAllocationID.NotFound", ec2.describe_addresses, AllocationIds=[address])
    return eni


def instances(image, subnet, group, eni):
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    made = ec2.run_instances(
        ImageId=image, InstanceType="tiny", MinCount=1, MaxCount=2, SubnetId=subnet, SecurityGroupIds=[group],
        UserData="#!/bin/sh\necho <&>\n", TagSpecifications=tags("instance", Name="pair"),
    )
    both = [i["InstanceId"] for i in made["Instances"]]
    equal("two instances, one reservation", (len(both), [i["AmiLaunchIndex"] for i in made["Instances"]]), (2, [0, 1]))
    check("each with an address of the outside", all(i.get("PublicIpAddress") for i in made["Instances"]), made)
    equal("which are no elastic addresses", ec2.describe_addresses()["Addresses"], [])
    held = ec2.run_instances(
        ImageId=image, InstanceType="tiny", MinCount=1, MaxCount=1,
        NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": eni}],
    )["Instances"][0]
    equal("an instance with an interface of its own", held["PrivateIpAddress"], "10.20.1.9")
    refused("InvalidNetworkInterface.InUse", ec2.delete_network_interface, NetworkInterfaceId=eni)
    everyone = both + [held["InstanceId"]]
    ec2.get_waiter("instance_running").wait(InstanceIds=everyone, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=everyone, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    first = both[0]
    read = lambda name: ec2.describe_instance_attribute(InstanceId=first, Attribute=name)
    for name in ("instanceType", "disableApiTermination", "disableApiStop", "instanceInitiatedShutdownBehavior", "groupSet",
                 "sourceDestCheck", "rootDeviceName", "blockDeviceMapping", "ebsOptimized", "enaSupport", "kernel",
                 "ramdisk", "sriovNetSupport", "productCodes", "enclaveOptions"):
        read(name)
    text = base64.b64decode(read("userData")["UserData"]["Value"]).decode()
    equal("user data is as it was given", text, "#!/bin/sh\necho <&>\n")
    refused("IncorrectInstanceState", ec2.modify_instance_attribute, InstanceId=first, InstanceType={"Value": "small"})
    ec2.modify_instance_attribute(InstanceId=first, SourceDestCheck={"Value": False})
    equal("the source is not checked", read("sourceDestCheck")["SourceDestCheck"]["Value"], False)
    ec2.modify_instance_metadata_options(InstanceId=first, HttpTokens="required")
    refused("UnsupportedOperation", ec2.modify_instance_metadata_options, InstanceId=first, HttpTokens="optional")
    refused("UnsupportedOperation", ec2.get_password_data, InstanceId=first)
    refused("UnsupportedOperation", ec2.monitor_instances, InstanceIds=[first])
    ec2.unmonitor_instances(InstanceIds=[first])
    ec2.get_console_output(InstanceId=first)
    ec2.reboot_instances(InstanceIds=[first])
    ec2.create_tags(Resources=[first, subnet, group], Tags=[{"Key": "Ümlaut & <more>", "Value": "ä 'quoted' \"text\""}])
    found = ec2.describe_tags(Filters=[{"Name": "key", "Values": ["Ümlaut*"]}])["Tags"]
    equal("tags of three resources", {t["ResourceId"] for t in found}, {first, subnet, group})
    equal("exactly", {t["Value"] for t in found}, {"ä 'quoted' \"text\""})
    ec2.delete_tags(Resources=[first], Tags=[{"Key": "Ümlaut & <more>"}])
    equal("gone from one", len(ec2.describe_tags(Filters=[{"Name": "key", "Values": ["Ümlaut*"]}])["Tags"]), 2)
    pages = list(ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "subnet-id", "Values": [subnet]}], PaginationConfig={"PageSize": 2}
    ))
    listed = [i["InstanceId"] for p in pages for r in p["Reservations"] for i in r["Instances"]]
    equal("instances in pages", (len(pages), sorted(listed)), (2, sorted(everyone)))
    ec2.stop_instances(InstanceIds=[first])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[first], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    ec2.modify_instance_attribute(InstanceId=first, InstanceType={"Value": "small"})
    equal("a size that was changed", read("instanceType")["InstanceType"]["Value"], "small")
    ec2.start_instances(InstanceIds=[first])
    ec2.terminate_instances(InstanceIds=everyone)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=everyone, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    ec2.terminate_instances(InstanceIds=[first])
    ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[eni], WaiterConfig={"Delay": 1})
    ec2.delete_network_interface(NetworkInterfaceId=eni)


def templates(image, group):
    wish = {"ImageId": image, "InstanceType": "tiny", "SecurityGroupIds": [group], "UserData": "ZWNobw==",
            "TagSpecifications": tags("instance", Name="made"), "Monitoring": {"Enabled": False},
            "MetadataOptions": {"HttpTokens": "required"}, "Placement": {"AvailabilityZone": "my-corten-1a"}}
    made = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=wish, VersionDescription="first",
                                      TagSpecifications=tags("launch-template", a="b"))["LaunchTemplate"]
    template = made["LaunchTemplateId"]
    equal("the first version counts", (made["DefaultVersionNumber"], made["LatestVersionNumber"]), (1, 1))
    refused("InvalidLaunchTemplateName.AlreadyExistsException", ec2.create_launch_template, LaunchTemplateName="web",
            LaunchTemplateData=wish)
    refused("UnsupportedOperation", ec2.create_launch_template, LaunchTemplateName="other", LaunchTemplateData={"KernelId": "x"})
    second = ec2.create_launch_template_version(
        LaunchTemplateName="web", SourceVersion="$Latest",
        LaunchTemplateData={"NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [group]}], "InstanceType": "small"},
    )["LaunchTemplateVersion"]
    equal("a version from another", (second["VersionNumber"], second["LaunchTemplateData"]["InstanceType"],
                                     second["LaunchTemplateData"]["ImageId"]), (2, "small", image))
    shown = ec2.describe_launch_template_versions(LaunchTemplateId=template, Versions=["1"])["LaunchTemplateVersions"][0]
    found = {k: v for k, v in shown["LaunchTemplateData"].items() if k in wish}
    equal("a version is as it was given", found, wish)
    equal("by filter", len(ec2.describe_launch_template_versions(
        LaunchTemplateId=template, Filters=[{"Name": "is-default-version", "Values": ["true"]}])["LaunchTemplateVersions"]), 1)
    refused("InvalidLaunchTemplateId.VersionNotFound", ec2.describe_launch_template_versions, LaunchTemplateId=template, Versions=["9"])
    refused("InvalidLaunchTemplateId.NotFound", ec2.describe_launch_templates, LaunchTemplateIds=["lt-00000000000000000"])
    refused("InvalidLaunchTemplateName.NotFoundException", ec2.describe_launch_templates, LaunchTemplateNames=["none"])
    equal("templates by tag", [t["LaunchTemplateId"] for t in ec2.describe_launch_templates(
        Filters=[{"Name": "tag:a", "Values": ["b"]}])["LaunchTemplates"]], [template])
    run = {"MinCount": 1, "MaxCount": 1, "LaunchTemplate": {"LaunchTemplateId": template}}
    first = ec2.run_instances(**run)["Instances"][0]
    told = {t["Key"]: t["Value"] for t in first["Tags"]}
    equal("an instance of a template", (first["InstanceType"], told),
          ("tiny", {"Name": "made", "aws:ec2launchtemplate:id": template, "aws:ec2launchtemplate:version": "1"}))
    latest = {"LaunchTemplateName": "web", "Version": "$Latest"}
    refused("DryRunOperation", ec2.run_instances, **run, DryRun=True)
    # Cards of its own and groups of the instance exclude each other, also where one is from another version.
    refused("InvalidParameterCombination", ec2.run_instances, **{**run, "LaunchTemplate": latest})
    equal("what is asked for itself wins", ec2.run_instances(**{**run, "InstanceType": "small"})["Instances"][0]["InstanceType"], "small")
    refused("InvalidLaunchTemplateId.VersionNotFound", ec2.run_instances, **{**run, "LaunchTemplate": {**latest, "Version": "7"}})
    ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion="2")
    refused("UnsupportedOperation", ec2.delete_launch_template_versions, LaunchTemplateId=template, Versions=["2"])
    ec2.delete_launch_template_versions(LaunchTemplateId=template, Versions=["1"])
    everyone = [i["InstanceId"] for r in ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["made"]}])["Reservations"]
                for i in r["Instances"]]
    ec2.terminate_instances(InstanceIds=everyone)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=everyone, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    ec2.delete_launch_template(LaunchTemplateId=template)


def plain(vpc_id, subnet):
    found = ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}, {"Name": "default", "Values": ["true"]}])
    acl = found["NetworkAcls"][0]
    equal("the default ACL of a VPC", (len(found["NetworkAcls"]), len(acl["Entries"]), acl["Associations"][0]["SubnetId"]), (1, 4, subnet))
    refused("InvalidNetworkAclID.NotFound", ec2.describe_network_acls, NetworkAclIds=["acl-00000000000000000"])
    refused("InvalidDhcpOptionID.NotFound", ec2.describe_dhcp_options, DhcpOptionsIds=["dopt-00000000000000000"])
    lists = ec2.describe_managed_prefix_lists()["PrefixLists"]
    for listed in lists:
        ec2.get_managed_prefix_list_entries(PrefixListId=listed["PrefixListId"])
    refused("InvalidPrefixListID.NotFound", ec2.get_managed_prefix_list_entries, PrefixListId="pl-00000000000000000")


def ends(vpc_id, subnet, gateway, group):
    ec2.delete_security_group(GroupId=group)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc_id)
    refused("Gateway.NotAttached", ec2.detach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc_id)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_vpc(VpcId=vpc_id)
    refused("InvalidVpcID.NotFound", ec2.describe_vpcs, VpcIds=[vpc_id])


def refusals(image):
    refused("InvalidVpcID.NotFound", ec2.create_subnet, VpcId="vpc-00000000000000000", CidrBlock="10.0.0.0/24")
    refused("InvalidParameterValue", ec2.create_vpc, CidrBlock="here")
    refused("MissingParameter", ec2.run_instances, MinCount=1, MaxCount=1)
    refused("InvalidParameterValue", ec2.run_instances, ImageId=image, MinCount=2, MaxCount=1)
    refused("InvalidParameterValue", ec2.run_instances, ImageId=image, MinCount=1, MaxCount=1, InstanceType="z9.huge")
    refused("UnknownParameter", ec2.run_instances, ImageId=image, MinCount=1, MaxCount=1, KernelId="aki-1")
    refused("InvalidAction", ec2.describe_spot_price_history)
    refused("InvalidNextToken", ec2.describe_vpcs, NextToken="?")
    refused("InvalidID", ec2.create_tags, Resources=["x-1"], Tags=[{"Key": "a", "Value": "b"}])


def presigned():
    """A URL that was signed beforehand is worth as much as a header, and no more once it is changed."""
    import os
    import ssl
    import urllib.error
    import urllib.request

    url = ec2.generate_presigned_url("describe_vpcs", ExpiresIn=60, HttpMethod="GET")
    context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
    answer = urllib.request.urlopen(url, context=context).read().decode()
    check("a presigned URL", "<DescribeVpcsResponse" in answer, answer)
    try:
        urllib.request.urlopen(url.replace("DescribeVpcs", "DescribeSubnets"), context=context)
        check("a changed URL is refused", False)
    except urllib.error.HTTPError as error:
        equal("a changed URL is refused", error.code, 401)


def documented():
    """Service and name of every action on the page of documentation."""
    services = {"STS": "sts", "IAM": "iam", "ELBv2": "elbv2", "Auto Scaling": "autoscaling", "CloudWatch": "cloudwatch"}
    found, service = [], "ec2"
    with open(sys.argv[1], encoding="utf-8") as page:
        for line in page:
            if line.startswith("## "):
                named = re.search(r"\((.+)\)$", line.strip())
                service = services.get(named.group(1), "ec2") if named else "ec2"
            action = re.match(r"^\| ([A-Z][A-Za-z0-9]+) \| ", line)
            if action:
                found.append((service, action.group(1)))
    return found


def accounts(image):
    """Something of every kind in this account, and all that another can try on it."""
    iam = boto3.client("iam", config=config)
    vpc_id = ec2.create_vpc(CidrBlock="10.88.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.88.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="theirs", Description="x", VpcId=vpc_id)["GroupId"]
    table = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    eni = ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]["NetworkInterfaceId"]
    address = ec2.allocate_address()
    key = ec2.create_key_pair(KeyName="theirs", KeyType="ed25519")["KeyPairId"]
    instance = ec2.run_instances(ImageId=image, InstanceType="tiny", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    volume = ec2.create_volume(AvailabilityZone="my-corten-1a", Size=1)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    # Nobody answers there (RFC 5737): the task stays.
    task = ec2.import_snapshot(DiskContainer={"Format": "RAW", "Url": "https://192.0.2.1/disk.raw"})
    iam.create_user(UserName="theirs")
    access = iam.create_access_key(UserName="theirs")["AccessKey"]["AccessKeyId"]
    role = iam.create_role(RoleName="theirs", AssumeRolePolicyDocument=EC2_TRUST)["Role"]["Arn"]
    allow = '{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'
    policy = iam.create_policy(PolicyName="theirs", PolicyDocument=allow)["Policy"]["Arn"]
    own = Balancing((check, equal, refused), [], ec2)
    balanced = own.something()
    scaled = Scaling((check, equal, refused), [], ec2)
    balanced.update(scaled.something(image))
    edges = Edges((check, equal, refused), ec2, image)
    edge = edges.something(vpc_id)
    flows = Flows((check, equal, refused), ec2)
    flow = flows.something(vpc_id)
    endpoints = Endpoints((check, equal, refused), ec2)
    flow.update(endpoints.something(vpc_id))
    ids = {"VpcId": vpc_id, "SubnetId": subnet, "GroupId": group, "SecurityGroupId": group, "RouteTableId": table,
           "InternetGatewayId": gateway, "GatewayId": gateway, "NetworkInterfaceId": eni, "Resource": instance,
           "AllocationId": address["AllocationId"], "PublicIp": address["PublicIp"], "KeyPairId": key,
           "InstanceId": instance, "ImageId": image, "AccessKeyId": access, "RoleArn": role, "PolicyArn": policy,
           "PolicySourceArn": role, "VolumeId": volume, "SnapshotId": snapshot,
           "ImportTaskId": task["ImportTaskId"], "SourceImageId": image, "SourceSnapshotId": snapshot, **edge, **flow, **balanced}
    generated = Generated((check, equal, refused), documented())
    other = (os.environ["OTHER_KEY_ID"], os.environ["OTHER_SECRET"])
    generated.foreign(ids, other)
    generated.mistakes()
    own.nothing(balanced)
    scaled.nothing()
    edges.nothing(edge)
    flows.nothing(flow)
    endpoints.nothing(flow)
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.cancel_import_task(ImportTaskId=task["ImportTaskId"])
    ec2.delete_snapshot(SnapshotId=snapshot)
    ec2.delete_volume(VolumeId=volume)
    iam.delete_access_key(UserName="theirs", AccessKeyId=access)
    iam.delete_user(UserName="theirs")
    iam.delete_role(RoleName="theirs")
    iam.delete_policy(PolicyArn=policy)
    ec2.delete_key_pair(KeyPairId=key)
    ec2.release_address(AllocationId=address["AllocationId"])
    ec2.delete_network_interface(NetworkInterfaceId=eni)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_route_table(RouteTableId=table)
    ec2.delete_security_group(GroupId=group)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc_id)


def main():
    places()
    keys()
    image = images()
    Identities((check, equal, refused), judges, ec2, sts).run(image)
    vpc_id, subnet, gateway, table = network()
    routes(vpc_id, subnet, gateway, table)
    group = groups(vpc_id)
    eni = interfaces(subnet, group)
    instances(image, subnet, group, eni)
    default = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    templates(image, ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [default]}])["SecurityGroups"][0]["GroupId"])
    Volumes((check, equal, refused), ec2, image).run()
    Images((check, equal, refused), ec2, image).run()
    Networks((check, equal, refused), ec2).run()
    Edges((check, equal, refused), ec2, image).run()
    Flows((check, equal, refused), ec2).run()
    Endpoints((check, equal, refused), ec2).run()
    Placement((check, equal, refused), ec2, image).run()
    Tools((check, equal, refused), ec2, image).run()
    plain(vpc_id, subnet)
    ends(vpc_id, subnet, gateway, group)
    Balancing((check, equal, refused), judges, ec2).run(image)
    Scaling((check, equal, refused), judges, ec2).run(image)
    metrics = Metrics((check, equal, refused), ec2)
    metrics.run(image)
    refusals(image)
    presigned()
    Signer((check, equal, refused), seed=7).run()
    accounts(image)
    seen = metrics.seen.union(*(judge.seen for judge in judges))
    told = {name for _, name in documented()}
    check("every action that is documented was called", told <= seen, sorted(told - seen))
    faults = sorted({fault for judge in judges for fault in judge.faults})
    for fault in faults:
        print(f"not as AWS describes it: {fault}")
    print(f"{len(told)} actions, {len(failures)} of what was expected is not so, {len(faults)} faults of form")
    sys.exit(1 if failures or faults else 0)


main()
