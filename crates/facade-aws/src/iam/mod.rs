//! IAM: users, groups, roles, policies and instance profiles of the project. What all their actions have in common.

pub(crate) mod arn;
pub(crate) mod grants;
pub(crate) mod groups;
pub(crate) mod keys;
pub(crate) mod policies;
pub(crate) mod profiles;
pub(crate) mod roles;
pub(crate) mod server_certificates;
pub(crate) mod simulate;
pub(crate) mod users;

use identity::iam::Document;
use model::identity::{
    Grants, IamGroupSpec, IamInstanceProfileSpec, IamPolicySpec, IamRoleSpec, IamUserSpec,
};
use model::{Name, Object, ObjectMeta, Reason, Spec};

use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::tags;
use crate::xml::Xml;

const PAGE: usize = 100;
const PAGE_MAX: i64 = 1000;

/// A kind of IAM.
pub(crate) trait Called: Spec {
    /// The word for it, and in ARNs.
    const WORD: &'static str;
    /// The parameter that names one.
    const PARAMETER: &'static str;
    /// What its ids begin with.
    const ID: &'static str;
    fn name(&self) -> &str;
    fn path(&self) -> &str;
}

macro_rules! called {
    ($($spec:ty: $word:literal, $parameter:literal, $id:literal;)*) => {
        $(impl Called for $spec {
            const WORD: &'static str = $word;
            const PARAMETER: &'static str = $parameter;
            const ID: &'static str = $id;
            fn name(&self) -> &str {
                &self.name
            }
            fn path(&self) -> &str {
                if self.path.is_empty() { "/" } else { &self.path }
            }
        })*
    };
}

called! {
    IamUserSpec: "user", "UserName", "AIDA";
    IamGroupSpec: "group", "GroupName", "AGPA";
    IamRoleSpec: "role", "RoleName", "AROA";
    IamPolicySpec: "policy", "PolicyName", "ANPA";
    IamInstanceProfileSpec: "instance-profile", "InstanceProfileName", "AIPA";
}

/// What is given policies.
pub(crate) trait Holder: Called {
    fn grants(&self) -> &Grants;
    fn grants_mut(&mut self) -> &mut Grants;
}

macro_rules! holder {
    ($($spec:ty),*) => {
        $(impl Holder for $spec {
            fn grants(&self) -> &Grants {
                &self.grants
            }
            fn grants_mut(&mut self) -> &mut Grants {
                &mut self.grants
            }
        })*
    };
}

holder!(IamUserSpec, IamGroupSpec, IamRoleSpec);

/// The name of the object of what is called so, whatever the case.
pub(crate) fn object_name(name: &str) -> String {
    if Name::new(name).is_ok() { name.to_owned() } else { ids::hashed("iam", &name.to_ascii_lowercase()) }
}

pub(crate) fn none(word: &str, name: &str) -> Failure {
    let name: String = name.chars().take(128).collect();
    let message = format!("The {word} with name {name} cannot be found.");
    Failure { status: 404, ..Failure::new("NoSuchEntity", message) }
}

/// The one of a name, whatever the case.
pub(crate) async fn by_name<S: Called>(c: &Context, name: &str) -> Result<Object<S>, Failure> {
    let is_it = |object: &Object<S>| object.spec.name().eq_ignore_ascii_case(name);
    if let Some(object) = c.api::<S>().find(&object_name(name)).await?.filter(is_it) {
        return Ok(object);
    }
    c.list::<S>().await?.into_iter().find(is_it).ok_or_else(|| none(S::WORD, name))
}

/// The one that the request names.
pub(crate) async fn named<S: Called>(c: &Context) -> Result<Object<S>, Failure> {
    by_name(c, c.params.require(S::PARAMETER)?).await
}

/// A new one of the request's name, path and tags.
pub(crate) fn new<S: Called>(c: &Context) -> Result<ObjectMeta, Failure> {
    let name = c.params.require(S::PARAMETER)?;
    let mut meta = ObjectMeta::in_project(c.project(), object_name(name));
    tags::give(&mut meta, tags::named(&c.params, "Tags.member")?);
    Ok(meta)
}

pub(crate) async fn create<S: Called>(c: &Context, object: Object<S>) -> Result<Object<S>, Failure> {
    let name = object.spec.name().to_owned();
    match c.api::<S>().create(&object).await {
        Err(e) if matches!(e.reason, Reason::AlreadyExists | Reason::Conflict) => {
            let message = format!("{} with name {name} already exists.", S::WORD);
            Err(Failure { status: 409, ..Failure::new("EntityAlreadyExists", message) })
        }
        result => Ok(result?),
    }
}

/// Changes the one that the request names.
pub(crate) async fn change<S: Called>(
    c: &Context,
    change: impl FnMut(&mut Object<S>) -> Result<(), Failure>,
) -> Result<Object<S>, Failure> {
    let object = named::<S>(c).await?;
    c.change::<S>(&object.metadata.name, change).await
}

pub(crate) fn conflict(message: impl Into<String>) -> Failure {
    Failure { status: 409, ..Failure::new("DeleteConflict", message) }
}

/// What is asked for beyond what one may have.
pub(crate) fn limit(message: impl Into<String>) -> Failure {
    Failure { status: 409, ..Failure::new("LimitExceeded", message) }
}

pub(crate) fn arn<S: Called>(c: &Context, spec: &S) -> String {
    format!("arn:aws:iam::{}:{}{}{}", c.account(), S::WORD, spec.path(), spec.name())
}

pub(crate) fn id<S: Called>(object: &Object<S>) -> String {
    arn::id(S::ID, object.metadata.uid.as_str())
}

/// What is shown of all of them.
pub(crate) fn head<S: Called>(c: &Context, x: &mut Xml, object: &Object<S>) {
    let camel = S::PARAMETER;
    x.text("Path", object.spec.path())
        .text(camel, object.spec.name())
        .text(&camel.replace("Name", "Id"), id(object))
        .text("Arn", arn(c, &object.spec))
        .text("CreateDate", date(object.metadata.creation_timestamp));
}

pub(crate) fn write_tags(x: &mut Xml, meta: &ObjectMeta) {
    let all = tags::of(meta);
    if !all.is_empty() {
        x.members("Tags", &all, |x, (key, value)| {
            x.text("Key", key).text("Value", value);
        });
    }
}

pub(crate) fn date(at: Option<model::Timestamp>) -> String {
    let text = at.unwrap_or(model::Timestamp(0)).to_string();
    // IAM's dates have no fractions.
    text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z"))
}

/// A policy document that can be read.
pub(crate) fn document<'a>(c: &'a Context, parameter: &str) -> Result<&'a str, Failure> {
    let text = c.params.require(parameter)?;
    Document::policy(text).map_err(|e| malformed(&e.to_string()))?;
    Ok(text)
}

pub(crate) fn malformed(why: &str) -> Failure {
    Failure::new("MalformedPolicyDocument", format!("The policy cannot be understood: {why}"))
}

/// A list in pages: `write` is called for each of this page.
pub(crate) fn page<T>(
    c: &Context,
    list: &str,
    mut items: Vec<(String, T)>,
    mut write: impl FnMut(&mut Xml, &T),
) -> Result<Xml, Failure> {
    let max = c.params.number("MaxItems")?;
    if let Some(max) = max.filter(|max| !(1..=PAGE_MAX).contains(max)) {
        return Err(c.params.invalid("MaxItems", &max.to_string(), "must be 1 to 1000"));
    }
    let max = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(PAGE);
    items.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(marker) = c.params.get("Marker") {
        items.retain(|(name, _)| name.as_str() > marker);
    }
    let is_truncated = items.len() > max;
    items.truncate(max);
    let mut x = Xml::new();
    x.members(list, &items, |x, (_, item)| write(x, item));
    x.text("IsTruncated", is_truncated);
    if let Some((last, _)) = items.last().filter(|_| is_truncated) {
        x.text("Marker", last);
    }
    Ok(x)
}

/// Those below the path that the request names.
pub(crate) async fn below_path<S: Called>(c: &Context) -> Result<Vec<(String, Object<S>)>, Failure> {
    let prefix = c.params.text("PathPrefix");
    let all = c.list::<S>().await?.into_iter().filter(|object| object.spec.path().starts_with(prefix));
    Ok(all.map(|object| (object.spec.name().to_owned(), object)).collect())
}

/// As IAM writes documents in its answers: every byte but those that never need it as an escape.
pub(crate) fn encoded(text: &str) -> String {
    client::percent_encode(text)
}

pub(crate) async fn tag<S: Called>(c: &Context) -> Result<Xml, Failure> {
    let object = named::<S>(c).await?;
    let mut all = tags::of(&object.metadata);
    all.extend(tags::named(&c.params, "Tags.member")?);
    tags::check_count(&all)?;
    c.merge::<S>(&object.metadata.name, &tags::patch(&object.metadata, all)).await?;
    Ok(Xml::new())
}

pub(crate) async fn untag<S: Called>(c: &Context) -> Result<Xml, Failure> {
    let object = named::<S>(c).await?;
    let mut all = tags::of(&object.metadata);
    for key in c.params.list("TagKeys.member") {
        all.remove(&key);
    }
    c.merge::<S>(&object.metadata.name, &tags::patch(&object.metadata, all)).await?;
    Ok(Xml::new())
}

pub(crate) async fn list_tags<S: Called>(c: &Context) -> Result<Xml, Failure> {
    let object = named::<S>(c).await?;
    let all: Vec<(String, (String, String))> =
        tags::of(&object.metadata).into_iter().map(|(k, v)| (k.clone(), (k, v))).collect();
    page(c, "Tags", all, |x, (key, value)| {
        x.text("Key", key).text("Value", value);
    })
}
