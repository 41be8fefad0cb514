//! What policy documents allow: the order of decisions, conditions, bounds, and that nothing unknown ever helps.

use identity::iam::{Document, Facts, MANAGED, Names, Permissions, Resource, Verdict};
use proptest::prelude::*;

fn policy(statements: &str) -> Document {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    Document::policy(&text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn with(statements: &str) -> Permissions {
    Permissions::of(vec![("p".into(), policy(statements))])
}

fn one(arn: &str) -> Resource {
    Resource::One(arn.into())
}

const VPC: &str = "arn:aws:ec2:r:1:vpc/vpc-1";

#[track_caller]
fn check(statements: &str, action: &str, resource: &Resource, facts: &Facts, expected: bool) {
    assert_eq!(with(statements).decide(action, resource, facts).is_allowed(), expected, "{statements}");
}

#[test]
fn actions_and_resources() {
    let facts = Facts::default();
    for (statement, action, arn, expected) in [
        (r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#, "ec2:DeleteVpc", VPC, true),
        (r#"{"Effect":"Allow","Action":"EC2:delete*","Resource":"*"}"#, "ec2:DeleteVpc", VPC, true),
        (r#"{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}"#, "ec2:DeleteVpc", VPC, false),
        (r#"{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}"#, "ec2:DeleteVpc", VPC, true),
        (r#"{"Effect":"Allow","NotAction":"ec2:*","Resource":"*"}"#, "ec2:DeleteVpc", VPC, false),
        (r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:ec2:r:1:vpc/*"}"#, "ec2:DeleteVpc", VPC, true),
        (
            r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:ec2:r:2:vpc/*"}"#,
            "ec2:DeleteVpc",
            VPC,
            false,
        ),
        (
            r#"{"Effect":"Allow","Action":"*","NotResource":"arn:aws:ec2:r:1:vpc/vpc-1"}"#,
            "ec2:DeleteVpc",
            VPC,
            false,
        ),
        (
            r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:ec2:r:1:vpc/*"}"#,
            "ec2:DescribeVpcs",
            "*",
            false,
        ),
    ] {
        check(statement, action, &one(arn), &facts, expected);
    }
}

#[test]
fn what_is_not_named_is_allowed_only_where_all_are_and_denied_where_one_may_be() {
    let facts = Facts::default();
    let some = Resource::SomeOf("arn:aws:ec2:r:1:subnet/*".into());
    let all = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let single = r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:ec2:r:1:subnet/s-1"}"#;
    let denial =
        |resource: &str| format!(r#"{all},{{"Effect":"Deny","Action":"*","Resource":"{resource}"}}"#);
    check(all, "ec2:RunInstances", &some, &facts, true);
    let short = r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:ec2:r:1:subnet/?"}"#;
    check(short, "ec2:RunInstances", &some, &facts, false);
    let but_short =
        format!(r#"{all},{{"Effect":"Deny","Action":"*","NotResource":"arn:aws:ec2:r:1:subnet/?"}}"#);
    check(&but_short, "ec2:RunInstances", &some, &facts, false);
    check(single, "ec2:RunInstances", &some, &facts, false);
    check(&denial("arn:aws:ec2:r:1:subnet/s-1"), "ec2:RunInstances", &some, &facts, false);
    check(&denial("arn:aws:ec2:r:1:vpc/v-1"), "ec2:RunInstances", &some, &facts, true);
}

#[test]
fn conditions() {
    let mut facts = Facts::default();
    facts
        .set("aws:username", "ann")
        .set("ec2:InstanceType", "t3.micro")
        .set("aws:CurrentTime", "2030-01-02T03:04:05Z")
        .set("aws:SourceIp", "10.1.2.3")
        .set("n", "10")
        .set("aws:SecureTransport", "true")
        .set_all("aws:TagKeys", vec!["a".into(), "b".into()])
        .knows("aws:MultiFactorAuthAge");
    for (condition, expected) in [
        (r#"{"StringEquals":{"aws:username":"ann"}}"#, true),
        (r#"{"StringEquals":{"AWS:UserName":["bob","ann"]}}"#, true),
        (r#"{"StringEquals":{"aws:username":"Ann"}}"#, false),
        (r#"{"StringEqualsIgnoreCase":{"aws:username":"Ann"}}"#, true),
        (r#"{"StringNotEquals":{"aws:username":["bob","ann"]}}"#, false),
        (r#"{"StringLike":{"ec2:InstanceType":"t3.*"}}"#, true),
        (r#"{"StringNotLike":{"ec2:InstanceType":"t3.*"}}"#, false),
        (r#"{"StringEquals":{"aws:username":"${aws:username}"}}"#, true),
        (r#"{"NumericLessThan":{"n":"11"}}"#, true),
        (r#"{"NumericLessThan":{"n":9.5}}"#, false),
        (r#"{"DateGreaterThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}}"#, true),
        (r#"{"DateGreaterThan":{"aws:CurrentTime":"1893553446"}}"#, false),
        (r#"{"Bool":{"aws:SecureTransport":"true"}}"#, true),
        (r#"{"IpAddress":{"aws:SourceIp":["192.168.0.0/16","10.0.0.0/8"]}}"#, true),
        (r#"{"NotIpAddress":{"aws:SourceIp":"10.1.2.3"}}"#, false),
        (r#"{"IpAddress":{"aws:SourceIp":"2001:db8::/32"}}"#, false),
        (r#"{"Null":{"aws:MultiFactorAuthAge":"true"}}"#, true),
        (r#"{"Null":{"aws:username":"true"}}"#, false),
        (r#"{"NumericLessThan":{"aws:MultiFactorAuthAge":"10"}}"#, false),
        (r#"{"NumericLessThanIfExists":{"aws:MultiFactorAuthAge":"10"}}"#, true),
        (r#"{"StringNotEquals":{"aws:MultiFactorAuthAge":"10"}}"#, true),
        (r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b","c"]}}"#, true),
        (r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["a"]}}"#, false),
        (r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":["b"]}}"#, true),
        (r#"{"StringEquals":{"aws:username":"ann"},"Bool":{"aws:SecureTransport":"false"}}"#, false),
        // What nobody knows.
        (r#"{"StringEquals":{"aws:nobody":"x"}}"#, false),
        (r#"{"StringNotEquals":{"aws:nobody":"x"}}"#, false),
        (r#"{"StringEqualsIfExists":{"aws:nobody":"x"}}"#, false),
    ] {
        let allow = format!(r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{condition}}}"#);
        check(&allow, "ec2:X", &one("*"), &facts, expected);
    }
    // For a denial the unknown counts.
    let deny = r#"{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:nobody":"x"}}}"#;
    check(deny, "ec2:X", &one("*"), &facts, false);
}

#[test]
fn bounds_only_take_away() {
    let all = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let look = r#"{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}"#;
    let bounded = with(all).bounded("b", policy(look));
    let facts = Facts::default();
    assert!(bounded.decide("ec2:DescribeVpcs", &one("*"), &facts).is_allowed());
    assert!(!bounded.decide("ec2:DeleteVpc", &one(VPC), &facts).is_allowed());
    assert!(!with(look).bounded("b", policy(all)).decide("ec2:DeleteVpc", &one(VPC), &facts).is_allowed());
}

#[test]
fn what_cannot_be_understood_is_refused() {
    for wrong in [
        "",
        "[]",
        "{}",
        r#"{"Statement":[]}"#,
        r#"{"Version":"2020-01-01","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"run","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"mine"}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Same":{"a":"b"}}}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Colour":"red"}}"#,
    ] {
        assert!(Document::policy(wrong).is_err(), "{wrong}");
    }
    for managed in MANAGED {
        assert!(Document::policy(managed.document).is_ok(), "{}", managed.name);
    }
}

#[test]
fn who_is_trusted() {
    let trust = |principal: &str, more: &str| {
        let text = format!(
            r#"{{"Statement":{{"Effect":"Allow","Principal":{principal},"Action":"sts:AssumeRole"{more}}}}}"#
        );
        Document::trust(&text).unwrap_or_else(|e| panic!("{text}: {e}"))
    };
    let facts = Facts::default();
    let ec2 = [("Service", "ec2.amazonaws.com")];
    let service = trust(r#"{"Service":"ec2.amazonaws.com"}"#, "");
    assert!(service.trusts(&ec2, "sts:AssumeRole", &facts));
    assert!(!service.trusts(&[("AWS", "ec2.amazonaws.com")], "sts:AssumeRole", &facts));
    assert!(!service.trusts(&ec2, "sts:TagSession", &facts));
    assert!(
        !trust(r#"{"Service":"ec2.amazonaws.com"}"#, r#","Condition":{"Bool":{"aws:x":"true"}}"#).trusts(
            &ec2,
            "sts:AssumeRole",
            &facts
        )
    );
    assert!(Document::trust(r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole"}}"#).is_err());
}

fn statement() -> impl Strategy<Value = String> {
    let action = prop::sample::select(vec!["*", "ec2:*", "ec2:D*", "ec2:DeleteVpc", "iam:*"]);
    let resource = prop::sample::select(vec!["*", VPC, "arn:aws:ec2:r:1:vpc/*", "arn:aws:ec2:*:*:subnet/*"]);
    let condition = prop::sample::select(vec![
        "",
        r#","Condition":{"StringEquals":{"known":"a"}}"#,
        r#","Condition":{"StringEquals":{"unknown":"a"}}"#,
        r#","Condition":{"StringNotLike":{"known":"b*"}}"#,
    ]);
    (prop::sample::select(vec!["Allow", "Deny"]), action, resource, condition, any::<bool>(), any::<bool>())
        .prop_map(|(effect, action, resource, condition, not_action, not_resource)| {
            let (a, r) = (
                if not_action { "NotAction" } else { "Action" },
                if not_resource { "NotResource" } else { "Resource" },
            );
            format!(r#"{{"Effect":"{effect}","{a}":"{action}","{r}":"{resource}"{condition}}}"#)
        })
}

fn resource() -> impl Strategy<Value = Resource> {
    prop::sample::select(vec![
        one("*"),
        one(VPC),
        one("arn:aws:ec2:r:1:subnet/s-1"),
        Resource::SomeOf("arn:aws:ec2:r:1:vpc/*".into()),
    ])
}

fn facts() -> Facts {
    let mut facts = Facts::default();
    facts.set("known", "a");
    facts
}

proptest! {
    /// One more denial, or one more bound, never allows anything; one more allowance never denies.
    #[test]
    fn denials_and_bounds_only_take_away(
        own in prop::collection::vec(statement(), 1..4),
        more in statement(),
        resource in resource(),
        action in prop::sample::select(vec!["ec2:DeleteVpc", "ec2:DescribeVpcs", "iam:GetUser"]),
    ) {
        let facts = facts();
        let before = with(&own.join(","));
        let allowed = |p: &Permissions| p.decide(action, &resource, &facts).is_allowed();
        let after = before.clone().and("more", policy(&more));
        if more.contains("Deny") {
            prop_assert!(!allowed(&after) || allowed(&before));
        } else {
            prop_assert!(allowed(&after) || !allowed(&before));
        }
        prop_assert!(!allowed(&before.clone().bounded("b", policy(&more))) || allowed(&before));
    }

    /// The order of statements and documents decides nothing.
    #[test]
    fn order_decides_nothing(own in prop::collection::vec(statement(), 1..5), resource in resource()) {
        let mut turned = own.clone();
        turned.reverse();
        let split = own.iter().enumerate().fold(Permissions::default(), |p, (i, s)| p.and(&i.to_string(), policy(s)));
        let allowed = |p: &Permissions| p.decide("ec2:DeleteVpc", &resource, &facts()).is_allowed();
        prop_assert_eq!(allowed(&with(&own.join(","))), allowed(&with(&turned.join(","))));
        prop_assert_eq!(allowed(&with(&own.join(","))), allowed(&split));
    }

    /// What is not named is never allowed where one that may be meant is not.
    #[test]
    fn some_is_allowed_only_where_each_is(own in prop::collection::vec(statement(), 1..5)) {
        let permissions = with(&own.join(","));
        let some = Resource::SomeOf("arn:aws:ec2:r:1:vpc/*".into());
        if permissions.decide("ec2:DeleteVpc", &some, &facts()).is_allowed() {
            for id in ["vpc-1", "vpc-2"] {
                let each = one(&format!("arn:aws:ec2:r:1:vpc/{id}"));
                prop_assert!(permissions.decide("ec2:DeleteVpc", &each, &facts()).is_allowed());
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), own in statement(), cut in 0_usize..80) {
        let _ = (Document::policy(&text), Document::trust(&text));
        let whole = format!(r#"{{"Statement":{own}}}"#);
        let short: String = whole.chars().take(cut.min(whole.chars().count())).collect();
        let _ = Document::policy(&short);
    }
}

#[test]
fn a_resource_lets_in_whom_it_names_and_keeps_out_whom_it_denies() {
    let document = Document::of_resource(
        r#"{"Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:user/ann"}, "Action": "s3:*",
             "Resource": "arn:aws:s3:::b/*"},
            {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::b/kept/*"}
        ]}"#,
    )
    .expect("a policy");
    let decide = |who: &str, action: &str, key: &str| {
        let names = [("AWS", who)];
        let names = Names { allowed: &names, denied: &names };
        let resource = Resource::One(format!("arn:aws:s3:::b/{key}"));
        document.decide_for(names, action, &resource, &Facts::default())
    };
    let ann = "arn:aws:iam::1:user/ann";
    assert!(decide(ann, "s3:GetObject", "a").is_allowed());
    assert_eq!(decide("arn:aws:iam::1:user/bob", "s3:GetObject", "a"), Verdict::NotAllowed);
    assert!(matches!(decide(ann, "s3:DeleteObject", "kept/a"), Verdict::Denied { .. }));
    assert!(matches!(decide("", "s3:DeleteObject", "kept/a"), Verdict::Denied { .. }));
    assert!(!document.is_public());
    for (text, is_public) in [
        (r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}"#, true),
        (
            r#"{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:GetObject", "Resource": "*"}"#,
            true,
        ),
        (r#"{"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}"#, false),
    ] {
        let document = Document::of_resource(&format!(r#"{{"Statement": {text}}}"#)).expect(text);
        assert_eq!(document.is_public(), is_public, "{text}");
    }
    // It says of whom it speaks, and a policy of an identity does not.
    let nobody = r#"{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}"#;
    assert!(Document::of_resource(nobody).is_err() && Document::policy(nobody).is_ok());
}
