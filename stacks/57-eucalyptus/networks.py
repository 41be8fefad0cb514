"""More of networks through boto3: VPCs that are peers, gateways for IPv6 alone, rules with tags that change."""

import time

from volumes import tags


class Networks:
    """`tools` are check, equal and refused of the one who calls."""

    def __init__(self, tools, ec2):
        self.check, self.equal, self.refused = tools
        self.ec2 = ec2

    def run(self):
        ec2 = self.ec2
        one = ec2.create_vpc(CidrBlock="10.70.0.0/16")["Vpc"]["VpcId"]
        two = ec2.create_vpc(CidrBlock="10.71.0.0/16")["Vpc"]["VpcId"]
        self.peers(one, two)
        self.egress(one)
        self.rules(one)
        for vpc in (one, two):
            ec2.delete_vpc(VpcId=vpc)

    def peers(self, one, two):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        made = ec2.create_vpc_peering_connection(VpcId=one, PeerVpcId=two, TagSpecifications=tags("vpc-peering-connection", Name="p"))
        pcx = made["VpcPeeringConnection"]["VpcPeeringConnectionId"]
        show = lambda: ec2.describe_vpc_peering_connections(VpcPeeringConnectionIds=[pcx])["VpcPeeringConnections"][0]
        told = show()
        equal("who asked and who is asked", (told["RequesterVpcInfo"]["VpcId"], told["AccepterVpcInfo"]["CidrBlock"]), (one, "10.71.0.0/16"))
        equal("it waits", told["Status"]["Code"], "pending-acceptance")
        table = {vpc: ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]["RouteTableId"]
                 for vpc in (one, two)}
        route = {"RouteTableId": table[two], "DestinationCidrBlock": "10.70.0.0/16", "VpcPeeringConnectionId": pcx}
        refused("InvalidParameterValue", ec2.create_route, **route)
        refused("VpcPeeringConnectionAlreadyExists", ec2.create_vpc_peering_connection, VpcId=one, PeerVpcId=two)
        refused("VpcPeeringConnectionAlreadyExists", ec2.create_vpc_peering_connection, VpcId=two, PeerVpcId=one)
        refused("UnsupportedOperation", ec2.create_vpc_peering_connection, VpcId=one, PeerVpcId=two, PeerOwnerId="111122223333")
        refused("DryRunOperation", ec2.accept_vpc_peering_connection, VpcPeeringConnectionId=pcx, DryRun=True)
        ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=pcx)
        ec2.get_waiter("vpc_peering_connection_exists").wait(VpcPeeringConnectionIds=[pcx])
        self.until_active(show)
        equal("one connection", len(ec2.describe_vpc_peering_connections()["VpcPeeringConnections"]), 1)
        ec2.create_route(**route)
        ec2.create_route(RouteTableId=table[one], DestinationCidrBlock="10.71.0.0/16", VpcPeeringConnectionId=pcx)
        shown = ec2.describe_route_tables(Filters=[{"Name": "route.vpc-peering-connection-id", "Values": [pcx]}])["RouteTables"]
        equal("both sides lead there", {t["RouteTableId"] for t in shown}, set(table.values()))
        equal("as it is called", [r["State"] for t in shown for r in t["Routes"] if r.get("VpcPeeringConnectionId") == pcx], ["active"] * 2)
        refused("InvalidStateTransition", ec2.reject_vpc_peering_connection, VpcPeeringConnectionId=pcx)
        refused("DependencyViolation", ec2.delete_vpc_peering_connection, VpcPeeringConnectionId=pcx)
        options = {"AllowDnsResolutionFromRemoteVpc": False}
        ec2.modify_vpc_peering_connection_options(VpcPeeringConnectionId=pcx, RequesterPeeringConnectionOptions=options)
        refused("UnsupportedOperation", ec2.modify_vpc_peering_connection_options, VpcPeeringConnectionId=pcx,
                AccepterPeeringConnectionOptions={"AllowDnsResolutionFromRemoteVpc": True})
        for vpc, other in ((one, "10.71.0.0/16"), (two, "10.70.0.0/16")):
            ec2.delete_route(RouteTableId=table[vpc], DestinationCidrBlock=other)
        ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=pcx)
        refused("InvalidVpcPeeringConnectionID.NotFound", ec2.describe_vpc_peering_connections, VpcPeeringConnectionIds=[pcx])
        again = ec2.create_vpc_peering_connection(VpcId=two, PeerVpcId=one)["VpcPeeringConnection"]["VpcPeeringConnectionId"]
        ec2.reject_vpc_peering_connection(VpcPeeringConnectionId=again)
        equal("no connection is left", ec2.describe_vpc_peering_connections()["VpcPeeringConnections"], [])

    def until_active(self, show):
        for _ in range(50):
            if show()["Status"]["Code"] == "active":
                return
            time.sleep(0.2)
        self.check("the connection is active", False, show()["Status"])

    def egress(self, vpc):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        made = ec2.create_egress_only_internet_gateway(VpcId=vpc, TagSpecifications=tags("egress-only-internet-gateway", Name="out"))
        gateway = made["EgressOnlyInternetGateway"]["EgressOnlyInternetGatewayId"]
        found = ec2.describe_egress_only_internet_gateways(Filters=[{"Name": "tag:Name", "Values": ["out"]}])
        equal("a gateway for IPv6", [(g["EgressOnlyInternetGatewayId"], g["Attachments"]) for g in found["EgressOnlyInternetGateways"]],
              [(gateway, [{"State": "attached", "VpcId": vpc}])])
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationIpv6CidrBlock="::/0", EgressOnlyInternetGatewayId=gateway)
        shown = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
        equal("leads out", [r["EgressOnlyInternetGatewayId"] for r in shown if r.get("DestinationIpv6CidrBlock") == "::/0"], [gateway])
        refused("DependencyViolation", ec2.delete_egress_only_internet_gateway, EgressOnlyInternetGatewayId=gateway)
        ec2.delete_route_table(RouteTableId=table)
        refused("DryRunOperation", ec2.delete_egress_only_internet_gateway, EgressOnlyInternetGatewayId=gateway, DryRun=True)
        ec2.delete_egress_only_internet_gateway(EgressOnlyInternetGatewayId=gateway)
        refused("InvalidEgressOnlyInternetGatewayId.NotFound", ec2.delete_egress_only_internet_gateway, EgressOnlyInternetGatewayId=gateway)

    def rules(self, vpc):
        """Terraform knows a rule by its id, and changes what it says."""
        ec2, equal, refused = self.ec2, self.equal, self.refused
        group = ec2.create_security_group(GroupName="tagged", Description="x", VpcId=vpc)["GroupId"]
        web = [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
        made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=web, TagSpecifications=tags("security-group-rule", a="b"))
        rule = made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
        equal("a rule has tags", made["SecurityGroupRules"][0]["Tags"], [{"Key": "a", "Value": "b"}])
        ec2.create_tags(Resources=[rule], Tags=[{"Key": "c", "Value": "d"}])
        ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[{"SecurityGroupRuleId": rule, "SecurityGroupRule": {
            "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIpv4": "10.0.0.0/8"}}])
        found = ec2.describe_security_group_rules(Filters=[{"Name": "tag:c", "Values": ["d"]}])["SecurityGroupRules"]
        equal("which stay when it is changed, as its id does", [(r["SecurityGroupRuleId"], r["FromPort"], len(r["Tags"])) for r in found],
              [(rule, 443, 2)])
        other = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=web)["SecurityGroupRules"][0]["SecurityGroupRuleId"]
        self.check("a new rule that says what the other said has another id", other != rule, other)
        equal("its tags are among all", len(ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [rule]}])["Tags"]), 2)
        ec2.delete_tags(Resources=[rule], Tags=[{"Key": "a"}])
        ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[rule])
        refused("InvalidSecurityGroupRuleId.NotFound", ec2.create_tags, Resources=[rule], Tags=[{"Key": "c", "Value": "d"}])
        equal("the other is there", ec2.describe_security_group_rules(SecurityGroupRuleIds=[other])["SecurityGroupRules"][0]["FromPort"], 80)
        ec2.delete_security_group(GroupId=group)
