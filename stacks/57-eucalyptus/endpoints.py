"""VPC endpoints through boto3: what is made, shown, changed and refused. Who comes by them, endpoints.sh shows."""

import json

from volumes import tags

SERVICE = "com.amazonaws.my-corten-1."
READ = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}]}


class Endpoints:
    """`tools` are check, equal and refused of the one who calls."""

    def __init__(self, tools, ec2):
        self.check, self.equal, self.refused = tools
        self.ec2 = ec2

    def run(self):
        ec2 = self.ec2
        self.services()
        vpc = ec2.create_vpc(CidrBlock="10.74.0.0/16")["Vpc"]["VpcId"]
        subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.74.{n}.0/24")["Subnet"]["SubnetId"] for n in (1, 2)]
        tables = [ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"] for _ in range(2)]
        other = ec2.create_vpc(CidrBlock="10.75.0.0/16")["Vpc"]["VpcId"]
        self.gateways(vpc, tables, subnets, other)
        self.interfaces(vpc, tables, subnets, other)
        self.pages(vpc)
        self.ends(vpc, subnets, tables)
        for one in (vpc, other):
            ec2.delete_vpc(VpcId=one)

    def something(self, vpc):
        """For whoever tries what is another's."""
        made = self.ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=SERVICE + "s3")
        return {"VpcEndpointId": made["VpcEndpoint"]["VpcEndpointId"]}

    def nothing(self, made):
        self.ec2.delete_vpc_endpoints(VpcEndpointIds=[made["VpcEndpointId"]])

    def one(self, endpoint):
        return self.ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint])["VpcEndpoints"][0]

    def pages_of_services(self, **asked):
        shown, token = [], ""
        while token is not None:
            page = self.ec2.describe_vpc_endpoint_services(**asked, **({"NextToken": token} if token else {}))
            shown += [(d["ServiceName"], d["ServiceType"][0]["ServiceType"]) for d in page["ServiceDetails"]]
            token = page.get("NextToken") or None
        return shown

    def services(self):
        ec2, equal = self.ec2, self.equal
        found = ec2.describe_vpc_endpoint_services()
        expected = sorted(SERVICE + name for name in ("s3", "ec2", "sts", "iam", "elasticloadbalancing", "autoscaling", "monitoring"))
        equal("the services that endpoints lead to", sorted(found["ServiceNames"]), expected)
        details = ec2.describe_vpc_endpoint_services(ServiceNames=[SERVICE + "s3"])["ServiceDetails"]
        equal("S3 in both forms", sorted(d["ServiceType"][0]["ServiceType"] for d in details), ["Gateway", "Interface"])
        pages = self.pages_of_services(MaxResults=1)
        equal("page by page they are the same", sorted(pages), sorted((d["ServiceName"], d["ServiceType"][0]["ServiceType"]) for d in found["ServiceDetails"]))
        gateways = ec2.describe_vpc_endpoint_services(Filters=[{"Name": "service-type", "Values": ["Gateway"]}])
        equal("and alone as a gateway", gateways["ServiceNames"], [SERVICE + "s3"])
        self.refused("InvalidServiceName", ec2.describe_vpc_endpoint_services, ServiceNames=["com.amazonaws.us-east-1.s3"])
        lists = ec2.describe_prefix_lists(Filters=[{"Name": "prefix-list-name", "Values": [SERVICE + "s3"]}])["PrefixLists"]
        equal("the list of its addresses", [(len(p["Cidrs"]), p["PrefixListId"][:3]) for p in lists], [(1, "pl-")])
        self.list = lists[0]["PrefixListId"]
        equal("by its id", len(ec2.describe_prefix_lists(PrefixListIds=[self.list])["PrefixLists"]), 1)
        self.refused("InvalidPrefixListID.NotFound", ec2.describe_prefix_lists, PrefixListIds=["pl-00000000000000000"])
        managed = ec2.get_managed_prefix_list_entries(PrefixListId=self.list)["Entries"]
        vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="to the store", Description="x", VpcId=vpc)["GroupId"]
        rule = [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "PrefixListIds": [{"PrefixListId": self.list}]}]
        ec2.authorize_security_group_egress(GroupId=group, IpPermissions=rule)
        shown = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissionsEgress"]
        equal("a rule may name it", [p["PrefixListIds"] for p in shown if p["IpProtocol"] == "tcp"], [[{"PrefixListId": self.list}]])
        ec2.revoke_security_group_egress(GroupId=group, IpPermissions=rule)
        ec2.delete_security_group(GroupId=group)
        equal("it is managed", [entry["Cidr"] for entry in managed], lists[0]["Cidrs"])

    def routes(self, table):
        routes = self.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
        return [r["GatewayId"] for r in routes if r.get("DestinationPrefixListId") == self.list]

    def gateways(self, vpc, tables, subnets, other):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        wish = {"VpcId": vpc, "ServiceName": SERVICE + "s3", "RouteTableIds": tables[:1], "ClientToken": "once",
                "TagSpecifications": tags("vpc-endpoint", Name="store")}
        refused("DryRunOperation", ec2.create_vpc_endpoint, **{**wish, "ClientToken": "dry"}, DryRun=True)
        made = ec2.create_vpc_endpoint(**wish)["VpcEndpoint"]
        self.gateway = made["VpcEndpointId"]
        equal("the same request again makes nothing", ec2.create_vpc_endpoint(**wish)["VpcEndpoint"]["VpcEndpointId"], self.gateway)
        refused("IdempotentParameterMismatch", ec2.create_vpc_endpoint, **{**wish, "RouteTableIds": tables[1:]})
        equal("a gateway", (made["VpcEndpointType"], made["State"], made["RouteTableIds"], made["SubnetIds"], made["PrivateDnsEnabled"]),
              ("Gateway", "available", tables[:1], [], False))
        equal("it lets everything through", json.loads(made["PolicyDocument"])["Statement"][0]["Action"], "*")
        equal("its table shows it", self.routes(tables[0]), [self.gateway])
        equal("and no other", self.routes(tables[1]), [])
        equal("a table is found by it", [t["RouteTableId"] for t in ec2.describe_route_tables(
            Filters=[{"Name": "route.gateway-id", "Values": [self.gateway]}])["RouteTables"]], tables[:1])
        plain = {"VpcId": vpc, "ServiceName": SERVICE + "s3"}
        refused("RouteAlreadyExists", ec2.create_vpc_endpoint, **plain, RouteTableIds=tables[:1])
        refused("InvalidVpcID.NotFound", ec2.create_vpc_endpoint, **{**plain, "VpcId": "vpc-00000000000000000"})
        refused("InvalidServiceName", ec2.create_vpc_endpoint, **{**plain, "ServiceName": "com.amazonaws.us-east-1.s3"})
        refused("InvalidRouteTableID.NotFound", ec2.create_vpc_endpoint, **plain, RouteTableIds=["rtb-00000000000000000"])
        refused("InvalidParameter", ec2.create_vpc_endpoint, **plain, SubnetIds=subnets)
        refused("InvalidParameter", ec2.create_vpc_endpoint, **plain, PrivateDnsEnabled=True)
        refused("InvalidParameter", ec2.create_vpc_endpoint, **{**plain, "ServiceName": SERVICE + "ec2"})
        refused("InvalidParameterValue", ec2.create_vpc_endpoint, **{**plain, "VpcId": other}, RouteTableIds=tables[1:])
        refused("InvalidPolicyDocument", ec2.create_vpc_endpoint, **plain, PolicyDocument="{}")
        refused("UnsupportedOperation", ec2.create_vpc_endpoint, **plain, VpcEndpointType="GatewayLoadBalancer")
        refused("UnknownParameter", ec2.create_vpc_endpoint, **plain, DnsOptions={"DnsRecordIpType": "ipv4"})

        modify = lambda **what: ec2.modify_vpc_endpoint(VpcEndpointId=self.gateway, **what)
        modify.__name__ = "modify_vpc_endpoint"
        equal("changed", modify(AddRouteTableIds=tables[1:], RemoveRouteTableIds=tables[:1])["Return"], True)
        equal("the other table has it", (self.routes(tables[0]), self.routes(tables[1])), ([], [self.gateway]))
        modify(PolicyDocument=json.dumps(READ))
        equal("a policy", json.loads(self.one(self.gateway)["PolicyDocument"]), READ)
        modify(ResetPolicy=True)
        self.check("and none", json.loads(self.one(self.gateway)["PolicyDocument"]) != READ)
        refused("DryRunOperation", modify, AddRouteTableIds=tables[:1], DryRun=True)
        refused("InvalidParameterCombination", modify, ResetPolicy=True, PolicyDocument="{}")
        refused("InvalidParameter", modify, AddSubnetIds=subnets)
        refused("InvalidVpcEndpointId.NotFound", ec2.modify_vpc_endpoint, VpcEndpointId="vpce-00000000000000000")
        refused("InvalidVpcEndpointId.Malformed", ec2.modify_vpc_endpoint, VpcEndpointId="web")
        ec2.create_tags(Resources=[self.gateway], Tags=[{"Key": "use", "Value": "test"}])
        found = ec2.describe_tags(Filters=[{"Name": "resource-type", "Values": ["vpc-endpoint"]}])["Tags"]
        equal("its tags", sorted((t["Key"], t["Value"]) for t in found if t["ResourceId"] == self.gateway),
              [("Name", "store"), ("use", "test")])
        ec2.delete_tags(Resources=[self.gateway], Tags=[{"Key": "use"}])

    def interfaces(self, vpc, tables, subnets, other):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        group = ec2.create_security_group(GroupName="guards", Description="x", VpcId=vpc)["GroupId"]
        wish = {"VpcId": vpc, "ServiceName": SERVICE + "ec2", "VpcEndpointType": "Interface", "SubnetIds": subnets[:1]}
        made = ec2.create_vpc_endpoint(**wish, SecurityGroupIds=[group])["VpcEndpoint"]
        self.interface, self.group = made["VpcEndpointId"], group
        equal("an interface", (made["VpcEndpointType"], made["SubnetIds"], [g["GroupId"] for g in made["Groups"]], made["PrivateDnsEnabled"]),
              ("Interface", subnets[:1], [group], True))
        names = [entry["DnsName"] for entry in made["DnsEntries"]]
        equal("its names", names, [f"{self.interface}.ec2.my-corten-1.vpce.amazonaws.com", "ec2.my-corten-1.amazonaws.com"])
        eni = ec2.describe_network_interfaces(NetworkInterfaceIds=made["NetworkInterfaceIds"])["NetworkInterfaces"][0]
        equal("its interface", (eni["SubnetId"], eni["PrivateIpAddress"][:8], eni["InterfaceType"], eni["RequesterManaged"], eni["Status"]),
              (subnets[0], "10.74.1.", "vpc_endpoint", True, "in-use"))
        refused("InvalidNetworkInterface.InUse", ec2.delete_network_interface, NetworkInterfaceId=eni["NetworkInterfaceId"])
        refused("InvalidParameter", ec2.create_vpc_endpoint, **wish)
        refused("InvalidParameter", ec2.create_vpc_endpoint, **wish, RouteTableIds=tables[:1])
        refused("InvalidSubnetID.NotFound", ec2.create_vpc_endpoint, **{**wish, "SubnetIds": ["subnet-00000000000000000"]})
        refused("InvalidGroup.NotFound", ec2.create_vpc_endpoint, **wish, SecurityGroupIds=["sg-00000000000000000"])
        refused("InvalidParameterValue", ec2.create_vpc_endpoint, **{**wish, "VpcId": other}, PrivateDnsEnabled=False)
        refused("UnsupportedOperation", ec2.create_vpc_endpoint, **wish, PrivateDnsEnabled=False, IpAddressType="dualstack")
        refused("DependencyViolation", ec2.delete_subnet, SubnetId=subnets[0])
        ec2.modify_vpc_endpoint(VpcEndpointId=self.interface, AddSubnetIds=subnets[1:], PrivateDnsEnabled=False)
        shown = self.one(self.interface)
        equal("in both subnets", (sorted(shown["SubnetIds"]), len(shown["NetworkInterfaceIds"]), len(shown["DnsEntries"])), (sorted(subnets), 2, 1))
        default = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}])
        default = default["SecurityGroups"][0]["GroupId"]
        ec2.modify_vpc_endpoint(VpcEndpointId=self.interface, AddSecurityGroupIds=[default], RemoveSecurityGroupIds=[group])
        equal("with another group", [g["GroupId"] for g in self.one(self.interface)["Groups"]], [default])

    def pages(self, vpc):
        ec2, equal = self.ec2, self.equal
        both = sorted([self.gateway, self.interface])
        found = lambda **which: sorted(e["VpcEndpointId"] for e in ec2.describe_vpc_endpoints(**which)["VpcEndpoints"])
        named = lambda name, *values: {"Filters": [{"Name": "vpc-id", "Values": [vpc]}, {"Name": name, "Values": list(values)}]}
        equal("of a type", found(**named("vpc-endpoint-type", "Interface")), [self.interface])
        equal("of a service", found(**named("service-name", SERVICE + "s3")), [self.gateway])
        equal("by state", found(**named("vpc-endpoint-state", "available")), both)
        equal("by a tag", found(**named("tag:Name", "store")), [self.gateway])
        pages = list(ec2.get_paginator("describe_vpc_endpoints").paginate(
            Filters=[{"Name": "vpc-id", "Values": [vpc]}], PaginationConfig={"PageSize": 1}))
        equal("in pages", sorted(e["VpcEndpointId"] for page in pages for e in page["VpcEndpoints"]), both)
        self.refused("InvalidVpcEndpointId.NotFound", ec2.describe_vpc_endpoints, VpcEndpointIds=["vpce-00000000000000000"])

    def ends(self, vpc, subnets, tables):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        refused("DependencyViolation", ec2.delete_vpc, VpcId=vpc)
        refused("DryRunOperation", ec2.delete_vpc_endpoints, VpcEndpointIds=[self.gateway], DryRun=True)
        gone = ec2.delete_vpc_endpoints(VpcEndpointIds=[self.gateway, "vpce-00000000000000000", self.interface])["Unsuccessful"]
        equal("what could not go", [(u["ResourceId"], u["Error"]["Code"]) for u in gone],
              [("vpce-00000000000000000", "InvalidVpcEndpointId.NotFound")])
        equal("no route is left", self.routes(tables[1]), [])
        self.until_gone(vpc)
        for table in tables:
            ec2.delete_route_table(RouteTableId=table)
        for subnet in subnets:
            ec2.delete_subnet(SubnetId=subnet)
        ec2.delete_security_group(GroupId=self.group)

    def until_gone(self, vpc):
        """Their interfaces go a moment after them."""
        import time

        for _ in range(100):
            left = self.ec2.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkInterfaces"]
            if not left:
                return
            time.sleep(0.1)
        self.check("the interfaces of an endpoint go with it", False, left)
