//! What a request asks to be allowed, in the words of roles and of policies, and whether it is.

use ::objects::{Error, WhichVersion};
use client::{Request, Verb};
use http::{HeaderMap, Uri};
use identity::Holder;
use identity::iam::{self, CallerNames, Document, Facts, Names, Resource, Verdict};
use model::storage::{Bucket, BucketSpec};
use model::{REGION, Spec, Timestamp};
use s3s::{S3Result, s3_error};

use crate::access::{Asker, Found, Origin};
use crate::actions::{OBJECTS, VERSIONED, action, versioned};
use crate::failure::{self, refused};
use crate::operations::Operations;
use crate::{guard, words};

/// Whoever is locked out by his own policy can still take it away.
const OF_POLICY: [&str; 3] = ["s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"];

/// What conditions call the tags of an object that is there.
const TAG: &str = "s3:ExistingObjectTag/";
/// Actions that may be allowed by those tags, as AWS has it.
const BY_TAGS: [&str; 14] = [
    "GetObject",
    "GetObjectVersion",
    "GetObjectAttributes",
    "GetObjectVersionAttributes",
    "GetObjectAcl",
    "GetObjectVersionAcl",
    "GetObjectTagging",
    "GetObjectVersionTagging",
    "PutObjectAcl",
    "PutObjectVersionAcl",
    "PutObjectTagging",
    "PutObjectVersionTagging",
    "DeleteObjectTagging",
    "DeleteObjectVersionTagging",
];

/// Whether an operation may put something into a bucket.
pub(crate) fn adds(operation: &str) -> bool {
    action(operation).0 == "PutObject"
}

/// One thing that has to be allowed.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) action: String,
    resource: String,
    bucket: String,
    facts: Facts,
    right: (Verb, &'static str),
    /// The version that is named.
    version: Option<String>,
}

impl Question {
    /// Asks for another action on an object of the same request.
    pub(crate) fn object(&self, action: &str, bucket: &str, key: &str, right: Verb) -> Self {
        Self {
            action: format!("s3:{action}"),
            resource: format!("arn:aws:s3:::{bucket}/{key}"),
            bucket: bucket.to_owned(),
            right: (right, OBJECTS),
            ..self.clone()
        }
    }

    #[must_use]
    pub(crate) fn of_version(self, version: Option<String>) -> Self {
        Self { version, ..self }
    }

    /// The key of an object whose tags may be asked for.
    fn tagged(&self) -> Option<&str> {
        let key = self.resource.strip_prefix(&format!("arn:aws:s3:::{}/", self.bucket))?;
        BY_TAGS.contains(&self.action.strip_prefix("s3:")?).then_some(key)
    }
}

/// One question about an object, outside of what the head of a request says.
pub(crate) fn of_object(action: &str, bucket: &str, key: &str, right: Verb) -> Question {
    let question = Question {
        action: String::new(),
        resource: String::new(),
        bucket: String::new(),
        facts: facts(&[], &HeaderMap::new()),
        right: (right, OBJECTS),
        version: None,
    };
    question.object(action, bucket, key, right)
}

/// Everything that a request has to be allowed before it is carried out, by its head.
pub(crate) fn questions(
    operation: &str,
    bucket: &str,
    key: Option<&str>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Vec<Question> {
    let query = guard::decoded(uri.query().unwrap_or(""));
    let version = query.iter().find(|(name, _)| name == "versionId").map(|(_, version)| version.clone());
    let is_versioned = version.is_some();
    let (action, right) = action(operation);
    let mut actions = vec![action.to_owned()];
    if is_versioned && VERSIONED.contains(&action) {
        actions = vec![versioned(action)];
    }
    match operation {
        // Each of their keys is asked for when the body is read.
        "DeleteObjects" | "PostObject" => actions.clear(),
        "GetObjectAttributes" => {
            actions
                .push(if is_versioned { "GetObjectVersionAttributes" } else { "GetObjectAttributes" }.into());
        }
        "PutObject" | "CreateMultipartUpload" | "CopyObject" => {
            let also = [
                ("x-amz-tagging", "PutObjectTagging"),
                ("x-amz-object-lock-mode", "PutObjectRetention"),
                ("x-amz-object-lock-legal-hold", "PutObjectLegalHold"),
            ];
            let said = also.iter().filter(|(header, _)| headers.contains_key(*header));
            actions.extend(said.map(|(_, action)| (*action).to_owned()));
        }
        "DeleteObject" | "PutObjectRetention"
            if headers.contains_key("x-amz-bypass-governance-retention") =>
        {
            actions.push("BypassGovernanceRetention".to_owned());
        }
        _ => {}
    }
    let resource = match (bucket, key) {
        ("", _) => "*".to_owned(),
        (bucket, None) => format!("arn:aws:s3:::{bucket}"),
        (bucket, Some(key)) => format!("arn:aws:s3:::{bucket}/{key}"),
    };
    let facts = facts(&query, headers);
    let question = |action: String| Question {
        action: format!("s3:{action}"),
        resource: resource.clone(),
        bucket: bucket.to_owned(),
        facts: facts.clone(),
        right,
        version: version.clone(),
    };
    actions.into_iter().map(question).collect()
}

/// What a request says of the keys that conditions ask for.
fn facts(query: &[(String, String)], headers: &HeaderMap) -> Facts {
    let mut facts = Facts::default();
    facts.set("aws:RequestedRegion", REGION).set("s3:signatureversion", "AWS4-HMAC-SHA256");
    for (key, name) in [
        ("s3:prefix", "prefix"),
        ("s3:delimiter", "delimiter"),
        ("s3:max-keys", "max-keys"),
        ("s3:VersionId", "versionId"),
    ] {
        facts.knows(key);
        if let Some((_, value)) = query.iter().find(|(given, _)| given == name) {
            facts.set(key, value);
        }
    }
    let by_header = [
        ("s3:x-amz-acl", "x-amz-acl"),
        ("s3:x-amz-copy-source", "x-amz-copy-source"),
        ("s3:x-amz-metadata-directive", "x-amz-metadata-directive"),
        ("s3:x-amz-storage-class", "x-amz-storage-class"),
        ("s3:x-amz-server-side-encryption", "x-amz-server-side-encryption"),
        (
            "s3:x-amz-server-side-encryption-customer-algorithm",
            "x-amz-server-side-encryption-customer-algorithm",
        ),
        ("s3:x-amz-content-sha256", "x-amz-content-sha256"),
        ("s3:object-lock-mode", "x-amz-object-lock-mode"),
        ("s3:object-lock-legal-hold", "x-amz-object-lock-legal-hold"),
        ("s3:if-none-match", "if-none-match"),
        ("s3:if-match", "if-match"),
        ("aws:Referer", "referer"),
        ("aws:UserAgent", "user-agent"),
    ];
    for (key, name) in by_header {
        facts.knows(key);
        if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
            facts.set(key, value);
        }
    }
    request_tags(&mut facts, headers);
    facts
}

/// Tags that a new object is to have.
fn request_tags(facts: &mut Facts, headers: &HeaderMap) {
    facts.knows("s3:RequestObjectTagKeys").knows_all("s3:RequestObjectTag/");
    let header = headers.get("x-amz-tagging").and_then(|value| value.to_str().ok()).unwrap_or("");
    // What cannot be read is refused when it is read.
    let tags = words::tags_of_header(header).unwrap_or_default();
    if tags.is_empty() {
        return;
    }
    for (key, value) in &tags {
        facts.set(&format!("s3:RequestObjectTag/{key}"), value);
    }
    facts.set_all("s3:RequestObjectTagKeys", tags.into_iter().map(|(key, _)| key).collect());
}

impl Operations {
    /// The questions with what is known of tags, which are looked up only where a condition asks for them.
    pub(crate) async fn with_tags(
        &self,
        asker: &Asker,
        found: Option<&Found>,
        questions: &[Question],
    ) -> S3Result<Vec<Question>> {
        let mut questions = questions.to_vec();
        let Some(found) = found else { return Ok(questions) };
        let prefix = TAG.to_ascii_lowercase();
        let asks = |document: Document| document.asks_for(&prefix);
        let actor = asker.holder.as_ref().and_then(|holder| holder.actor.as_ref());
        let endpoint = asker.origin.through.as_ref().and_then(|through| through.policy.as_ref());
        let is_asked = actor.is_some_and(|actor| actor.permissions.asks_for(&prefix))
            || endpoint.is_some_and(|policy| policy.asks_for(&prefix))
            || Document::of_resource(&found.spec.policy).is_ok_and(asks);
        if !is_asked {
            return Ok(questions);
        }
        for question in &mut questions {
            let Some(key) = question.tagged() else { continue };
            let which = WhichVersion::from(question.version.clone());
            let tags = match self.objects.head(&found.uid, key, which).await {
                Ok(record) => record.meta.tags,
                // What is not there has none.
                Err(Error::NoBucket | Error::NoKey | Error::NoVersion | Error::DeleteMarker { .. }) => {
                    Vec::new()
                }
                Err(e) => return Err(failure::of(e)),
            };
            question.facts.knows_all(TAG);
            for (key, value) in tags {
                question.facts.set(&format!("{TAG}{key}"), value);
            }
        }
        Ok(questions)
    }

    /// Whether somebody may. Users of Corten go by their roles, callers of IAM by policies, their own or the bucket's,
    /// and whoever is not of the bucket's project by both. What a bucket's policy denies is denied to all.
    pub(crate) fn may(&self, asker: &Asker, found: Option<&Found>, question: &Question) -> S3Result<()> {
        self.comes_through(asker, found, question)?;
        let Some(holder) = &asker.holder else {
            let allowed = found.is_some_and(|found| {
                !is_closed(found)
                    && self.policy(found, asker, question).is_some_and(|verdict| verdict.is_allowed())
            });
            return if allowed { Ok(()) } else { Err(s3_error!(AccessDenied, "the request is not signed")) };
        };
        let verdict = found.and_then(|found| self.policy(found, asker, question));
        let verdict = verdict.unwrap_or(Verdict::NotAllowed);
        let is_own = found.is_none_or(|found| found.project == holder.project);
        if matches!(verdict, Verdict::Denied { .. }) {
            let is_owner = is_own && holder.actor.is_none();
            if !(is_owner && OF_POLICY.contains(&question.action.as_str())) {
                return Err(denied(holder, question, "with an explicit deny in a resource-based policy"));
            }
        }
        if !is_own {
            let is_let_in = verdict.is_allowed() && !found.is_some_and(is_closed);
            if !is_let_in {
                return Err(denied(holder, question, "because no resource-based policy allows the action"));
            }
        }
        let Some(actor) = &holder.actor else {
            return self.authorize(holder, question);
        };
        let facts = question_facts((asker, holder), self, question, found);
        let resource = Resource::One(question.resource.clone());
        match actor.permissions.decide(&question.action, &resource, &facts) {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::NotAllowed
                if is_own
                    && verdict.is_allowed()
                    && actor.permissions.is_within_bounds(&question.action, &resource, &facts) =>
            {
                Ok(())
            }
            Verdict::Denied { .. } => {
                Err(denied(holder, question, "with an explicit deny in an identity-based policy"))
            }
            Verdict::NotAllowed => {
                Err(denied(holder, question, "because no identity-based policy allows the action"))
            }
            Verdict::BeyondBounds => {
                let why = "because no permissions boundary or session policy allows the action";
                Err(denied(holder, question, why))
            }
        }
    }

    /// Whether the Vpc endpoint that a request came through lets it: its policy has the first word, whoever asks.
    fn comes_through(&self, asker: &Asker, found: Option<&Found>, question: &Question) -> S3Result<()> {
        let Some(through) = &asker.origin.through else { return Ok(()) };
        let resource = Resource::One(question.resource.clone());
        let is_let = match &asker.holder {
            Some(holder) => {
                let facts = question_facts((asker, holder), self, question, found);
                let names = names_of(holder);
                through.allows(&names.all(), &question.action, &resource, &facts)
            }
            None => found.is_some_and(|found| {
                let facts = anonymous_facts(asker, self, question, found);
                through.allows(&[("AWS", "")], &question.action, &resource, &facts)
            }),
        };
        match &asker.holder {
            _ if is_let => Ok(()),
            Some(holder) => Err(denied(holder, question, "because no VPC endpoint policy allows the action")),
            None => Err(s3_error!(AccessDenied, "the endpoint's policy does not allow it")),
        }
    }

    fn authorize(&self, holder: &Holder, question: &Question) -> S3Result<()> {
        let kind = model::kind_by_resource(BucketSpec::KIND.group, BucketSpec::KIND.plural);
        let kind = kind.ok_or_else(|| s3_error!(InternalError))?;
        let (verb, subresource) = question.right;
        let call = Request::new(verb, kind, Some(&holder.project), &question.bucket).subresource(subresource);
        self.cloud.authorize(&holder.principal, &call).map_err(refused)
    }

    /// What the bucket's policy says; nothing where it has none.
    fn policy(&self, found: &Found, asker: &Asker, question: &Question) -> Option<Verdict> {
        if found.spec.policy.is_empty() {
            return None;
        }
        let Ok(document) = Document::of_resource(&found.spec.policy) else {
            return Some(Verdict::Denied { by: "a policy that cannot be read".to_owned() });
        };
        let resource = Resource::One(question.resource.clone());
        let Some(holder) = &asker.holder else {
            // Nobody is named by a star alone.
            let facts = anonymous_facts(asker, self, question, found);
            let names = Names { allowed: &[("AWS", "")], denied: &[("AWS", "")] };
            return Some(document.decide_for(names, &question.action, &resource, &facts));
        };
        let known = names_of(holder);
        let (single, all) = (known.own(), known.all());
        // Within an account, naming the whole of it leaves it to the account's own policies.
        let allowed = if holder.project == found.project { &single } else { &all };
        let facts = question_facts((asker, holder), self, question, Some(found));
        let names = Names { allowed, denied: &all };
        Some(document.decide_for(names, &question.action, &resource, &facts))
    }
}

fn names_of(holder: &Holder) -> CallerNames {
    let account = iam::account_number(&holder.project);
    CallerNames::of(holder.actor.as_ref(), &holder.principal.user, &account)
}

/// As whom the cloud writes logs into a bucket, in the words of policies.
const DELIVERY: [(&str, &str); 1] = [("Service", "delivery.logs.amazonaws.com")];

/// Whether a bucket's policy keeps the cloud itself from writing an object of logs. That somebody may have them written
/// there was asked when he wanted it.
pub(crate) fn keeps_logs_out(bucket: &Bucket, key: &str, now: Timestamp) -> bool {
    if bucket.spec.policy.is_empty() {
        return false;
    }
    let Ok(document) = Document::of_resource(&bucket.spec.policy) else { return true };
    let mut facts = Facts::of_time(now);
    facts.include(&self::facts(&[], &HeaderMap::new()));
    facts.set("aws:ResourceAccount", iam::account_number(&bucket.metadata.namespace));
    let resource = Resource::One(format!("arn:aws:s3:::{}/{key}", bucket.metadata.name));
    let names = Names { allowed: &DELIVERY, denied: &DELIVERY };
    matches!(document.decide_for(names, "s3:PutObject", &resource, &facts), Verdict::Denied { .. })
}

/// Whether the bucket's owner lets no policy open it to everyone.
fn is_closed(found: &Found) -> bool {
    let restricts =
        found.spec.public_access_block.as_ref().is_some_and(|block| block.restrict_public_buckets);
    restricts && Document::of_resource(&found.spec.policy).is_ok_and(|document| document.is_public())
}

fn question_facts(
    (asker, holder): (&Asker, &Holder),
    operations: &Operations,
    question: &Question,
    found: Option<&Found>,
) -> Facts {
    let account = iam::account_number(&holder.project);
    let now = operations.cloud.now();
    let mut facts = match &holder.actor {
        Some(actor) => actor.facts(&account, now),
        None => Facts::of_time(now),
    };
    facts.set("aws:PrincipalAccount", &account);
    with_resource(facts, &asker.origin, question, found)
}

fn anonymous_facts(asker: &Asker, operations: &Operations, question: &Question, found: &Found) -> Facts {
    let mut facts = Facts::of_time(operations.cloud.now());
    for key in ["aws:PrincipalArn", "aws:PrincipalAccount", "aws:username"] {
        facts.knows(key);
    }
    with_resource(facts, &asker.origin, question, Some(found))
}

fn with_resource(mut facts: Facts, origin: &Origin, question: &Question, found: Option<&Found>) -> Facts {
    facts.include(&question.facts);
    facts.came(origin.from, origin.through.as_deref());
    if let Some(found) = found {
        facts.set("aws:ResourceAccount", iam::account_number(&found.project));
    }
    facts
}

fn denied(holder: &Holder, question: &Question, why: &str) -> s3s::S3Error {
    let account = iam::account_number(&holder.project);
    let who = match &holder.actor {
        Some(actor) => actor.arn(&account),
        None => format!("arn:aws:iam::{account}:user/{}", holder.principal.user),
    };
    let (action, resource) = (&question.action, &question.resource);
    s3_error!(
        AccessDenied,
        "User: {who} is not authorized to perform: {action} on resource: {resource} {why}"
    )
}
