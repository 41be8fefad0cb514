//! Policies that AWS has in every account, as far as what they are about exists here.

/// A policy that is in every account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Managed {
    pub name: &'static str,
    pub document: &'static str,
}

/// All of them, by name.
pub const MANAGED: &[Managed] = &[
    Managed {
        name: "AdministratorAccess",
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    },
    Managed {
        name: "AmazonEC2FullAccess",
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:*","elasticloadbalancing:*","cloudwatch:*","autoscaling:*"],"Resource":"*"}]}"#,
    },
    Managed {
        name: "AmazonEC2ReadOnlyAccess",
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:Describe*","ec2:Get*","elasticloadbalancing:Describe*","cloudwatch:ListMetrics","cloudwatch:GetMetric*","cloudwatch:Describe*","autoscaling:Describe*"],"Resource":"*"}]}"#,
    },
    Managed {
        name: "IAMFullAccess",
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"}]}"#,
    },
    Managed {
        name: "IAMReadOnlyAccess",
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:Get*","iam:List*","iam:Simulate*"],"Resource":"*"}]}"#,
    },
    Managed {
        name: "PowerUserAccess",
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}]}"#,
    },
    Managed {
        name: "ReadOnlyAccess",
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:Describe*","ec2:Get*","iam:Get*","iam:List*","elasticloadbalancing:Describe*","autoscaling:Describe*","cloudwatch:List*","cloudwatch:Get*","s3:Get*","s3:List*","sts:Get*"],"Resource":"*"}]}"#,
    },
];

/// The one of this ARN.
pub fn managed(arn: &str) -> Option<&'static Managed> {
    let name = arn.strip_prefix("arn:aws:iam::aws:policy/")?;
    MANAGED.iter().find(|managed| managed.name == name)
}
