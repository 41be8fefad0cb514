//! A Vpc endpoint that a request came through: what conditions may ask of it, and what its own policy lets through.

use std::net::IpAddr;
use std::sync::Arc;

use super::condition::Facts;
use super::decide::{Names, Resource, Verdict};
use super::document::Document;

/// The way of a request, as its connection says; what headers say of it is nobody's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    /// The endpoint's id and that of its Vpc, as AWS's clients know them.
    pub endpoint: String,
    pub vpc: String,
    /// The guest's address there.
    pub from: IpAddr,
    /// The only service that is reached through it, as scopes of credentials name it.
    pub service: &'static str,
    /// `None`: everything.
    pub policy: Option<Arc<Document>>,
}

impl Through {
    /// Whether the endpoint's own policy lets one of these principals, each with its type, do this.
    pub fn allows(&self, names: &[(&str, &str)], action: &str, resource: &Resource, facts: &Facts) -> bool {
        let Some(policy) = &self.policy else { return true };
        let names = Names { allowed: names, denied: names };
        matches!(policy.decide_for(names, action, resource, facts), Verdict::Allowed { .. })
    }

    /// An endpoint's policy as it is kept; one that cannot be read lets nothing through.
    pub fn read_policy(text: &str) -> Option<Arc<Document>> {
        let read = || Document::of_resource(text).unwrap_or_else(|_| Document::refusing());
        (!text.is_empty()).then(|| Arc::new(read()))
    }
}

impl Facts {
    /// Where a request came from: an address outside, or an endpoint in a Vpc. Of one the other is known not to be.
    pub fn came(&mut self, from: Option<IpAddr>, through: Option<&Through>) -> &mut Self {
        for key in ["aws:SourceVpce", "aws:SourceVpc", "aws:VpcSourceIp"] {
            self.knows(key);
        }
        match (through, from) {
            (Some(through), _) => self
                .knows("aws:SourceIp")
                .set("aws:SourceVpce", &through.endpoint)
                .set("aws:SourceVpc", &through.vpc)
                .set("aws:VpcSourceIp", through.from.to_string()),
            (None, Some(from)) => self.set("aws:SourceIp", from.to_string()),
            (None, None) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYONE: [(&str, &str); 1] = [("AWS", "arn:aws:iam::1:user/ann")];

    fn through(policy: &str) -> Through {
        Through {
            endpoint: "vpce-1".into(),
            vpc: "vpc-1".into(),
            from: IpAddr::from([10, 0, 0, 2]),
            service: "s3",
            policy: Through::read_policy(policy),
        }
    }

    fn lets(policy: &str, action: &str) -> bool {
        let resource = Resource::One("arn:aws:s3:::b/k".into());
        through(policy).allows(&ANYONE, action, &resource, &Facts::default())
    }

    #[test]
    fn an_endpoint_lets_through_what_its_policy_allows() {
        let read = r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:Get*","Resource":"*"}]}"#;
        let other = r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:user/bob"},"Action":"*","Resource":"*"}]}"#;
        assert!(lets("", "s3:PutObject"), "without a policy everything");
        assert!(lets(read, "s3:GetObject") && !lets(read, "s3:PutObject"));
        assert!(!lets(other, "s3:GetObject"), "another is named");
        assert!(!lets("what?", "s3:GetObject"), "a policy that cannot be read");
    }

    #[test]
    fn conditions_know_the_way_and_that_there_was_none() {
        let deny = r#"{"Statement":[{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*",
            "Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-1"}}}]}"#;
        let document = Document::of_resource(deny).unwrap();
        let denied = |from: Option<IpAddr>, way: Option<&Through>| {
            let mut facts = Facts::default();
            facts.came(from, way);
            let names = Names { allowed: &ANYONE, denied: &ANYONE };
            let verdict = document.decide_for(names, "s3:GetObject", &Resource::One("*".into()), &facts);
            matches!(verdict, Verdict::Denied { .. })
        };
        let outside = Some(IpAddr::from([192, 0, 2, 1]));
        assert!(!denied(None, Some(&through(""))), "through it");
        assert!(denied(None, Some(&Through { endpoint: "vpce-2".into(), ..through("") })));
        assert!(denied(outside, None), "not through any");
        let by_address = r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*",
            "Condition":{"IpAddress":{"aws:VpcSourceIp":"10.0.0.0/8"},"Null":{"aws:SourceIp":"true"}}}]}"#;
        let document = Document::of_resource(by_address).unwrap();
        let mut facts = Facts::default();
        facts.came(outside, Some(&through("")));
        let names = Names { allowed: &ANYONE, denied: &ANYONE };
        let verdict = document.decide_for(names, "s3:GetObject", &Resource::One("*".into()), &facts);
        assert!(matches!(verdict, Verdict::Allowed { .. }), "{verdict:?}");
    }
}
