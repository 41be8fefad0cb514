"""IAM and STS through boto3: users, groups, roles, policies, keys, sessions; and that they hold for every call."""

import json
import re

import boto3
from botocore.config import Config

from shapes import Judge

PLAIN = Config(retries={"max_attempts": 1}, parameter_validation=True)
EC2_TRUST = json.dumps({
    "Version": "2012-10-17",
    "Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
})


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **condition):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **({"Condition": condition} if condition else {})}


def deny(action, resource="*", **condition):
    return {**allow(action, resource, **condition), "Effect": "Deny"}


class Identities:
    """`tools` are check, equal and refused of the one who calls, `judges` the list that his answers are held by."""

    def __init__(self, tools, judges, ec2, sts):
        self.check, self.equal, self.refused = tools
        self.judges = judges
        self.ec2, self.sts = ec2, sts
        self.iam = self.client("iam")
        self.account = sts.get_caller_identity()["Account"]

    def client(self, service, keys=None):
        made = boto3.client(service, config=PLAIN, **({} if keys is None else {
            "aws_access_key_id": keys["AccessKeyId"],
            "aws_secret_access_key": keys["SecretAccessKey"],
            "aws_session_token": keys.get("SessionToken"),
        }))
        self.judges.append(Judge(made))
        return made

    def run(self, image):
        self.users()
        self.policies()
        self.enforced(image)
        self.sessions()
        self.profiles(image)
        self.simulations()
        self.ends()

    def users(self):
        iam, refused = self.iam, self.refused
        made = iam.create_user(UserName="Ann", Path="/people/", Tags=[{"Key": "team", "Value": "a b"}])["User"]
        self.equal("a user's ARN", made["Arn"], f"arn:aws:iam::{self.account}:user/people/Ann")
        self.check("a user's id", re.match(r"^AIDA[A-Z2-7]{17}$", made["UserId"]), made["UserId"])
        refused("EntityAlreadyExists", iam.create_user, UserName="ANN")
        refused("NoSuchEntity", iam.get_user, UserName="nobody")
        refused("ValidationError", iam.create_user, UserName="not a name")
        self.equal("whatever the case", iam.get_user(UserName="ann")["User"]["UserName"], "Ann")
        iam.update_user(UserName="Ann", NewPath="/")
        iam.tag_user(UserName="Ann", Tags=[{"Key": "x", "Value": "1"}])
        iam.untag_user(UserName="Ann", TagKeys=["x"])
        self.equal("tags", iam.list_user_tags(UserName="Ann")["Tags"], [{"Key": "team", "Value": "a b"}])
        iam.create_user(UserName="bob")
        pages = list(iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 1}))
        self.equal("users in pages", [u["UserName"] for p in pages for u in p["Users"]], ["Ann", "bob"])
        iam.create_group(GroupName="staff")
        refused("EntityAlreadyExists", iam.create_group, GroupName="staff")
        iam.add_user_to_group(GroupName="staff", UserName="bob")
        self.equal("a group's users", [u["UserName"] for u in iam.get_group(GroupName="staff")["Users"]], ["bob"])
        groups = iam.list_groups_for_user(UserName="bob")["Groups"]
        self.equal("a user's groups", [g["GroupName"] for g in groups], ["staff"])
        self.equal("groups", len(iam.list_groups()["Groups"]), 1)
        refused("DeleteConflict", iam.delete_group, GroupName="staff")
        first = iam.create_access_key(UserName="Ann")["AccessKey"]
        self.keys = first
        second = iam.create_access_key(UserName="Ann")["AccessKey"]
        refused("LimitExceeded", iam.create_access_key, UserName="Ann")
        iam.update_access_key(UserName="Ann", AccessKeyId=second["AccessKeyId"], Status="Inactive")
        states = {k["AccessKeyId"]: k["Status"] for k in iam.list_access_keys(UserName="Ann")["AccessKeyMetadata"]}
        self.equal("keys", states, {first["AccessKeyId"]: "Active", second["AccessKeyId"]: "Inactive"})
        refused("InvalidClientTokenId", self.client("sts", second).get_caller_identity)
        iam.delete_access_key(UserName="Ann", AccessKeyId=second["AccessKeyId"])
        refused("NoSuchEntity", iam.delete_access_key, UserName="Ann", AccessKeyId=second["AccessKeyId"])
        used = lambda: iam.get_access_key_last_used(AccessKeyId=first["AccessKeyId"])["AccessKeyLastUsed"]
        self.equal("a new key was never used", used()["ServiceName"], "N/A")
        who = self.client("sts", first).get_caller_identity()
        self.equal("who calls", who["Arn"], f"arn:aws:iam::{self.account}:user/Ann")
        self.equal("the key was used", used()["ServiceName"], "sts")

    def policies(self):
        iam, refused = self.iam, self.refused
        text = document(allow("ec2:Describe*"))
        refused("MalformedPolicyDocument", iam.create_policy, PolicyName="bad", PolicyDocument='{"Statement": []}')
        refused("MalformedPolicyDocument", iam.create_policy, PolicyName="bad", PolicyDocument="no")
        made = iam.create_policy(PolicyName="look", PolicyDocument=text, Description="d", Tags=[{"Key": "a", "Value": "b"}])
        arn = made["Policy"]["Arn"]
        self.equal("a policy's ARN", arn, f"arn:aws:iam::{self.account}:policy/look")
        for i in range(4):
            made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=i == 0)
        refused("LimitExceeded", iam.create_policy_version, PolicyArn=arn, PolicyDocument=text)
        self.equal("the version that counts", iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"], "v2")
        refused("DeleteConflict", iam.delete_policy_version, PolicyArn=arn, VersionId="v2")
        refused("NoSuchEntity", iam.get_policy_version, PolicyArn=arn, VersionId="v9")
        read = iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"]
        self.equal("a document comes back as it was", read, json.loads(text))
        iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
        self.equal("versions", len(iam.list_policy_versions(PolicyArn=arn)["Versions"]), 5)
        for version in ("v2", "v3", "v4", "v5"):
            iam.delete_policy_version(PolicyArn=arn, VersionId=version)
        iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "c", "Value": "d"}])
        iam.untag_policy(PolicyArn=arn, TagKeys=["a"])
        self.equal("a policy's tags", iam.list_policy_tags(PolicyArn=arn)["Tags"], [{"Key": "c", "Value": "d"}])
        refused("NoSuchEntity", iam.attach_user_policy, UserName="Ann", PolicyArn=arn + "x")
        iam.attach_user_policy(UserName="Ann", PolicyArn=arn)
        iam.attach_group_policy(GroupName="staff", PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
        attached = iam.list_attached_user_policies(UserName="Ann")["AttachedPolicies"]
        self.equal("attached", [p["PolicyArn"] for p in attached], [arn])
        self.equal("attached to a group", len(iam.list_attached_group_policies(GroupName="staff")["AttachedPolicies"]), 1)
        self.equal("who has it", iam.list_entities_for_policy(PolicyArn=arn)["PolicyUsers"][0]["UserName"], "Ann")
        refused("DeleteConflict", iam.delete_policy, PolicyArn=arn)
        names = {p["PolicyName"] for p in iam.list_policies()["Policies"]}
        self.check("AWS's own policies are there", {"AdministratorAccess", "look"} <= names, names)
        self.equal("own ones", [p["PolicyName"] for p in iam.list_policies(Scope="Local")["Policies"]], ["look"])
        iam.put_group_policy(GroupName="staff", PolicyName="own", PolicyDocument=text)
        self.equal("of its own", iam.list_group_policies(GroupName="staff")["PolicyNames"], ["own"])
        self.equal("a document of its own", iam.get_group_policy(GroupName="staff", PolicyName="own")["PolicyDocument"], json.loads(text))
        iam.delete_group_policy(GroupName="staff", PolicyName="own")
        self.look = arn

    def enforced(self, image):
        iam, refused, ec2 = self.iam, self.refused, self.ec2
        ann = self.client("ec2", self.keys)
        ann.describe_instances()
        run = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "DryRun": True}
        refused("UnauthorizedOperation", ann.run_instances, InstanceType="tiny", **run)
        refused("AccessDenied", self.client("iam", self.keys).list_users)
        iam.put_user_policy(UserName="Ann", PolicyName="own", PolicyDocument=document(
            allow(["ec2:*Vpc", "ec2:CreateTags"]),
            allow("ec2:RunInstances"),
            deny("ec2:RunInstances", f"arn:aws:ec2:*:*:instance/*", StringNotEquals={"ec2:InstanceType": "tiny"}),
            deny("ec2:DeleteVpc", f"arn:aws:ec2:*:{self.account}:vpc/*", StringEquals={"aws:ResourceTag/keep": "yes"}),
        ))
        self.equal("names of own policies", iam.list_user_policies(UserName="Ann")["PolicyNames"], ["own"])
        iam.get_user_policy(UserName="Ann", PolicyName="own")
        refused("DryRunOperation", ann.run_instances, InstanceType="tiny", **run)
        refused("UnauthorizedOperation", ann.run_instances, InstanceType="small", **run)
        vpc = ann.create_vpc(CidrBlock="10.77.0.0/16", TagSpecifications=[
            {"ResourceType": "vpc", "Tags": [{"Key": "keep", "Value": "yes"}]}])["Vpc"]["VpcId"]
        refused("UnauthorizedOperation", ann.delete_vpc, VpcId=vpc)
        try:
            ann.delete_vpc(VpcId=vpc)
        except Exception as error:  # the sealed reason is in its message
            sealed = re.search(r"Encoded authorization failure message: (\S+)", str(error)).group(1)
            told = json.loads(self.sts.decode_authorization_message(EncodedMessage=sealed)["DecodedMessage"])
            self.equal("why it was refused", (told["explicitDeny"], told["context"]["action"]), (True, "ec2:DeleteVpc"))
        refused("InvalidAuthorizationMessageException", self.sts.decode_authorization_message, EncodedMessage="v1.AAAA")
        iam.put_user_permissions_boundary(UserName="Ann", PermissionsBoundary=self.look)
        refused("UnauthorizedOperation", ann.delete_vpc, VpcId=vpc)
        ann.describe_vpcs(VpcIds=[vpc])
        iam.delete_user_permissions_boundary(UserName="Ann")
        ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "keep"}])
        ann.delete_vpc(VpcId=vpc)
        iam.delete_user_policy(UserName="Ann", PolicyName="own")
        refused("NoSuchEntity", iam.get_user_policy, UserName="Ann", PolicyName="own")

    def sessions(self):
        iam, refused, sts = self.iam, self.refused, self.sts
        trust = document({"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{self.account}:root"},
                          "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": "42"}}})
        refused("MalformedPolicyDocument", iam.create_role, RoleName="R", AssumeRolePolicyDocument=document(allow("*")))
        role = iam.create_role(RoleName="Deploy", AssumeRolePolicyDocument=trust, Description="d", MaxSessionDuration=7200)["Role"]
        self.equal("a role's trust", role["AssumeRolePolicyDocument"], json.loads(trust))
        iam.update_role(RoleName="Deploy", Description="e", MaxSessionDuration=3600)
        iam.update_role_description(RoleName="Deploy", Description="f")
        self.equal("a role", iam.get_role(RoleName="Deploy")["Role"]["Description"], "f")
        iam.tag_role(RoleName="Deploy", Tags=[{"Key": "k", "Value": "v"}, {"Key": "l", "Value": "w"}])
        iam.untag_role(RoleName="Deploy", TagKeys=["l"])
        self.equal("a role's tags", iam.list_role_tags(RoleName="Deploy")["Tags"], [{"Key": "k", "Value": "v"}])
        iam.put_role_policy(RoleName="Deploy", PolicyName="p", PolicyDocument=document(allow("ec2:*")))
        iam.get_role_policy(RoleName="Deploy", PolicyName="p")
        self.equal("a role's policies", iam.list_role_policies(RoleName="Deploy")["PolicyNames"], ["p"])
        iam.attach_role_policy(RoleName="Deploy", PolicyArn="arn:aws:iam::aws:policy/IAMReadOnlyAccess")
        self.equal("attached to a role", len(iam.list_attached_role_policies(RoleName="Deploy")["AttachedPolicies"]), 1)
        iam.put_role_permissions_boundary(RoleName="Deploy", PermissionsBoundary="arn:aws:iam::aws:policy/AdministratorAccess")
        iam.delete_role_permissions_boundary(RoleName="Deploy")
        self.equal("roles", [r["RoleName"] for r in iam.list_roles()["Roles"]], ["Deploy"])
        take = {"RoleArn": role["Arn"], "RoleSessionName": "ci"}
        refused("AccessDenied", sts.assume_role, **take)
        given = sts.assume_role(ExternalId="42", DurationSeconds=900, **take)
        self.equal("whose session it is", given["AssumedRoleUser"]["Arn"],
                   f"arn:aws:sts::{self.account}:assumed-role/Deploy/ci")
        refused("ValidationError", sts.assume_role, ExternalId="42", DurationSeconds=7200, **take)
        keys = given["Credentials"]
        who = self.client("sts", keys).get_caller_identity()
        self.equal("who calls in a session", who["Arn"], given["AssumedRoleUser"]["Arn"])
        self.client("ec2", keys).describe_vpcs()
        self.client("iam", keys).list_users()
        refused("AccessDenied", self.client("iam", keys).create_user, UserName="eve")
        refused("AuthFailure", self.client("ec2", {**keys, "SessionToken": None}).describe_vpcs)
        refused("AuthFailure", self.client("ec2", {**keys, "SessionToken": keys["SessionToken"][:-4] + "AAAA"}).describe_vpcs)
        # A session's own policy only takes away.
        less = sts.assume_role(ExternalId="42", Policy=document(allow("ec2:DescribeVpcs")), **take)["Credentials"]
        self.client("ec2", less).describe_vpcs()
        refused("UnauthorizedOperation", self.client("ec2", less).describe_subnets)
        # Ann is let in by the account, so a policy of hers has to say so as well.
        ann = self.client("sts", self.keys)
        refused("AccessDenied", ann.assume_role, ExternalId="42", **take)
        iam.put_user_policy(UserName="Ann", PolicyName="take", PolicyDocument=document(allow("sts:AssumeRole", role["Arn"])))
        ann.assume_role(ExternalId="42", **take)
        iam.update_assume_role_policy(RoleName="Deploy", PolicyDocument=EC2_TRUST)
        refused("AccessDenied", ann.assume_role, ExternalId="42", **take)
        refused("AccessDenied", sts.assume_role, RoleArn="arn:aws:iam::123456789012:role/x", RoleSessionName="ci")
        token = ann.get_session_token()["Credentials"]
        self.equal("a session of a user", self.client("sts", token).get_caller_identity()["Arn"],
                   f"arn:aws:iam::{self.account}:user/Ann")
        refused("AccessDenied", self.client("sts", token).get_session_token)
        refused("ValidationError", sts.get_session_token, DurationSeconds=129601)
        own = sts.get_session_token(DurationSeconds=900)["Credentials"]
        self.client("ec2", own).describe_vpcs()
        self.equal("a key's account", sts.get_access_key_info(AccessKeyId=self.keys["AccessKeyId"])["Account"], self.account)
        iam.delete_user_policy(UserName="Ann", PolicyName="take")

    def profiles(self, image):
        iam, ec2, refused = self.iam, self.ec2, self.refused
        made = iam.create_instance_profile(InstanceProfileName="Web", Tags=[{"Key": "a", "Value": "b"}])["InstanceProfile"]
        iam.add_role_to_instance_profile(InstanceProfileName="Web", RoleName="Deploy")
        refused("LimitExceeded", iam.add_role_to_instance_profile, InstanceProfileName="Web", RoleName="Deploy")
        shown = iam.get_instance_profile(InstanceProfileName="Web")["InstanceProfile"]
        self.equal("a profile's role", [r["RoleName"] for r in shown["Roles"]], ["Deploy"])
        iam.tag_instance_profile(InstanceProfileName="Web", Tags=[{"Key": "c", "Value": "d"}])
        iam.untag_instance_profile(InstanceProfileName="Web", TagKeys=["a"])
        self.equal("a profile's tags", iam.list_instance_profile_tags(InstanceProfileName="Web")["Tags"], [{"Key": "c", "Value": "d"}])
        self.equal("profiles", len(iam.list_instance_profiles()["InstanceProfiles"]), 1)
        self.equal("profiles of a role", len(iam.list_instance_profiles_for_role(RoleName="Deploy")["InstanceProfiles"]), 1)
        refused("DeleteConflict", iam.delete_instance_profile, InstanceProfileName="Web")
        run = {"ImageId": image, "InstanceType": "tiny", "MinCount": 1, "MaxCount": 1}
        refused("InvalidParameterValue", ec2.run_instances, IamInstanceProfile={"Name": "none"}, **run)
        # Who may start instances may not thereby become the role.
        iam.put_user_policy(UserName="Ann", PolicyName="run", PolicyDocument=document(allow("ec2:RunInstances")))
        ann = self.client("ec2", self.keys)
        refused("AccessDenied", ann.run_instances, IamInstanceProfile={"Name": "Web"}, DryRun=True, **run)
        iam.put_user_policy(UserName="Ann", PolicyName="pass", PolicyDocument=document(
            allow("iam:PassRole", "*", StringEquals={"iam:PassedToService": "ec2.amazonaws.com"})))
        refused("DryRunOperation", ann.run_instances, IamInstanceProfile={"Name": "Web"}, DryRun=True, **run)
        for name in ("run", "pass"):
            iam.delete_user_policy(UserName="Ann", PolicyName=name)
        one = ec2.run_instances(**run)["Instances"][0]["InstanceId"]
        link = ec2.associate_iam_instance_profile(InstanceId=one, IamInstanceProfile={"Arn": made["Arn"]})
        link = link["IamInstanceProfileAssociation"]["AssociationId"]
        refused("IncorrectState", ec2.associate_iam_instance_profile, InstanceId=one, IamInstanceProfile={"Name": "Web"})
        found = ec2.describe_iam_instance_profile_associations(Filters=[{"Name": "instance-id", "Values": [one]}])
        self.equal("its association", [a["AssociationId"] for a in found["IamInstanceProfileAssociations"]], [link])
        ec2.replace_iam_instance_profile_association(AssociationId=link, IamInstanceProfile={"Name": "Web"})
        shown = ec2.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]
        self.equal("an instance shows its profile", shown["IamInstanceProfile"]["Arn"], made["Arn"])
        ec2.disassociate_iam_instance_profile(AssociationId=link)
        refused("NoSuchAssociation", ec2.disassociate_iam_instance_profile, AssociationId=link)
        ec2.terminate_instances(InstanceIds=[one])

    def simulations(self):
        results = self.iam.simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::{self.account}:user/Ann", ActionNames=["ec2:DescribeVpcs", "ec2:RunInstances"]
        )["EvaluationResults"]
        self.equal("a simulation", [r["EvalDecision"] for r in results], ["allowed", "implicitDeny"])
        results = self.iam.simulate_custom_policy(
            PolicyInputList=[document(allow("s3:*"), deny("s3:Delete*", "*", IpAddress={"aws:SourceIp": "10.0.0.0/8"}))],
            ActionNames=["s3:DeleteObject"],
            ContextEntries=[{"ContextKeyName": "aws:SourceIp", "ContextKeyValues": ["10.1.2.3"], "ContextKeyType": "ip"}],
        )["EvaluationResults"]
        self.equal("a simulated condition", results[0]["EvalDecision"], "explicitDeny")

    def ends(self):
        iam, refused = self.iam, self.refused
        refused("DeleteConflict", iam.delete_user, UserName="Ann")
        refused("DeleteConflict", iam.delete_role, RoleName="Deploy")
        iam.delete_access_key(UserName="Ann", AccessKeyId=self.keys["AccessKeyId"])
        refused("InvalidClientTokenId", self.client("sts", self.keys).get_caller_identity)
        iam.detach_user_policy(UserName="Ann", PolicyArn=self.look)
        refused("NoSuchEntity", iam.detach_user_policy, UserName="Ann", PolicyArn=self.look)
        iam.delete_user(UserName="Ann")
        iam.remove_user_from_group(GroupName="staff", UserName="bob")
        iam.delete_user(UserName="bob")
        iam.detach_group_policy(GroupName="staff", PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
        iam.delete_group(GroupName="staff")
        iam.delete_policy(PolicyArn=self.look)
        iam.remove_role_from_instance_profile(InstanceProfileName="Web", RoleName="Deploy")
        iam.detach_role_policy(RoleName="Deploy", PolicyArn="arn:aws:iam::aws:policy/IAMReadOnlyAccess")
        iam.delete_role_policy(RoleName="Deploy", PolicyName="p")
        iam.delete_role(RoleName="Deploy")
        iam.delete_instance_profile(InstanceProfileName="Web")
        self.equal("nothing is left", (iam.list_users()["Users"], iam.list_roles()["Roles"]), ([], []))
