//! All kinds in one table, and objects whose kind is known only at run time. A new kind is a line here.

use std::any::Any;

use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use crate::{
    Claim, ColumnType, FieldErrors, KindInfo, ObjectMeta, Reference, Resource, Resources, Timestamp,
};
use crate::{compute, event, identity, network, secret, storage, topology};

/// Every kind, in the order in which discovery lists them.
pub fn kinds() -> &'static [KindEntry] {
    static KINDS: &[KindEntry] = &[
        KindEntry::of::<event::Event>(),
        KindEntry::of::<secret::Secret>(),
        KindEntry::of::<identity::Domain>(),
        KindEntry::of::<identity::Project>(),
        KindEntry::of::<identity::User>(),
        KindEntry::of::<identity::AccessKey>(),
        KindEntry::of::<identity::Role>(),
        KindEntry::of::<identity::RoleBinding>(),
        KindEntry::of::<identity::Quota>(),
        KindEntry::of::<identity::IamUser>(),
        KindEntry::of::<identity::IamGroup>(),
        KindEntry::of::<identity::IamRole>(),
        KindEntry::of::<identity::IamPolicy>(),
        KindEntry::of::<identity::IamInstanceProfile>(),
        KindEntry::of::<topology::Zone>(),
        KindEntry::of::<topology::Rack>(),
        KindEntry::of::<topology::Cluster>(),
        KindEntry::of::<topology::Host>(),
        KindEntry::of::<topology::Lease>(),
        KindEntry::of::<network::Vpc>(),
        KindEntry::of::<network::Subnet>(),
        KindEntry::of::<network::SecurityGroup>(),
        KindEntry::of::<network::PrefixList>(),
        KindEntry::of::<network::NetworkAcl>(),
        KindEntry::of::<network::DhcpOptions>(),
        KindEntry::of::<network::RouteTable>(),
        KindEntry::of::<network::Gateway>(),
        KindEntry::of::<network::AddressPool>(),
        KindEntry::of::<network::FloatingIp>(),
        KindEntry::of::<network::Peering>(),
        KindEntry::of::<network::VpcEndpoint>(),
        KindEntry::of::<network::Port>(),
        KindEntry::of::<network::FlowLog>(),
        KindEntry::of::<network::DnsZone>(),
        KindEntry::of::<network::DnsRecord>(),
        KindEntry::of::<network::LoadBalancer>(),
        KindEntry::of::<network::TargetGroup>(),
        KindEntry::of::<storage::Pool>(),
        KindEntry::of::<storage::Volume>(),
        KindEntry::of::<storage::VolumeSnapshot>(),
        KindEntry::of::<storage::VolumeBackup>(),
        KindEntry::of::<storage::BackupPlan>(),
        KindEntry::of::<storage::Bucket>(),
        KindEntry::of::<compute::Instance>(),
        KindEntry::of::<compute::InstanceType>(),
        KindEntry::of::<compute::InstanceSet>(),
        KindEntry::of::<compute::Image>(),
        KindEntry::of::<compute::KeyPair>(),
        KindEntry::of::<compute::LaunchTemplate>(),
        KindEntry::of::<compute::PlacementGroup>(),
    ];
    KINDS
}

/// The kind served at `group`/`plural`.
pub fn kind_by_resource(group: &str, plural: &str) -> Option<&'static KindEntry> {
    kinds().iter().find(|k| k.info.plural == plural && k.info.group == group)
}

/// The entry of a kind that is known when compiling.
///
/// # Panics
/// Never: whatever implements [`Resource`] is in the registry.
pub fn entry_of<R: Resource>() -> &'static KindEntry {
    kind_by_resource(R::KIND.group, R::KIND.plural)
        .expect("invariant: every type that implements Resource is in the registry")
}

/// The kind a person means: plural, singular, short name, kind, or `plural.group`, in any case.
pub fn kind_of(word: &str) -> Option<&'static KindEntry> {
    let word = word.to_ascii_lowercase();
    kinds().iter().find(|k| {
        let info = &k.info;
        info.plural == word
            || info.singular == word
            || info.short_names.contains(&word.as_str())
            || info.is_resource(&word)
    })
}

type Decode = fn(&[u8], strict: bool) -> Result<Box<dyn AnyObject>, DecodeError>;

/// A kind's entry: its facts, and how to read its objects.
#[derive(Debug)]
pub struct KindEntry {
    pub info: KindInfo,
    /// Reads an object from JSON. Unknown fields are an error when `strict` (user input); stored objects are
    /// read leniently, so that a server one version older can still start.
    pub decode: Decode,
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Name, type, and whether only `-o wide` shows it.
    pub columns: fn() -> Vec<(&'static str, ColumnType, bool)>,
}

impl KindEntry {
    const fn of<R: Resource>() -> Self {
        Self {
            info: R::KIND,
            decode: decode::<R>,
            schema: R::json_schema,
            columns: || R::columns().iter().map(|c| (c.name, c.kind, c.wide)).collect(),
        }
    }
}

/// Why bytes are not an object of the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the body is not valid JSON: {0}")]
    Syntax(String),
    #[error("{field}: {message}")]
    Field { field: String, message: String },
    #[error("unknown field {field:?}: remove it, or see the kind's fields with `corten explain {kind}`")]
    Unknown { kind: &'static str, field: String },
    #[error("{field} is {given:?}, but this is {wanted:?}")]
    WrongType { field: &'static str, given: String, wanted: String },
}

fn decode<R: Resource>(bytes: &[u8], strict: bool) -> Result<Box<dyn AnyObject>, DecodeError> {
    let object: R = if strict { decode_strict(bytes)? } else { decode_lenient(bytes)? };
    Ok(Box::new(object))
}

fn decode_lenient<R: Resource>(bytes: &[u8]) -> Result<R, DecodeError> {
    serde_json::from_slice(bytes).map_err(|e| DecodeError::Syntax(e.to_string()))
}

fn decode_strict<R: Resource>(bytes: &[u8]) -> Result<R, DecodeError> {
    let mut unknown = None;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let result: Result<R, _> = serde_ignored::deserialize(tracked, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    });
    let mut object = match result {
        Ok(object) => object,
        Err(e) if e.is_data() => {
            return Err(DecodeError::Field {
                field: track.path().to_string(),
                message: without_position(&e),
            });
        }
        // serde_json calls a number where a word is wanted a syntax error, which it is not.
        Err(_) if serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() => {
            return Err(DecodeError::Field {
                field: track.path().to_string(),
                message: "the value is of the wrong type".into(),
            });
        }
        Err(e) => return Err(DecodeError::Syntax(e.to_string())),
    };
    json.end().map_err(|e| DecodeError::Syntax(e.to_string()))?;
    if let Some(path) = unknown {
        let field = field_path(&path, bytes);
        return Err(DecodeError::Unknown { kind: R::KIND.singular, field });
    }
    check_type::<R>(bytes)?;
    object.set_type();
    Ok(object)
}

/// A path of serde_ignored (`spec.payload.?.list.0.name`) in the syntax of [`crate::FieldErrors`]
/// (`spec.payload.kernel.list[0].name`). Its `?` stands for an enum's variant, whose name is in the document, or
/// for an optional value, which has none.
fn field_path(path: &str, document: &[u8]) -> String {
    let document: Value = serde_json::from_slice(document).unwrap_or_default();
    let mut field = String::with_capacity(path.len());
    let mut push = |part: &str| {
        if !field.is_empty() {
            field.push('.');
        }
        field.push_str(part);
    };
    let (mut at, mut parts) = (&document, path.split('.').peekable());
    while let Some(part) = parts.next() {
        let inside = match (part, at.as_object().filter(|fields| fields.len() == 1)) {
            ("?", Some(fields)) => fields.iter().next(),
            _ => None,
        };
        if let (Some((variant, inner)), Some(next)) = (inside, parts.peek())
            && child(inner, next).is_some()
        {
            push(variant);
            at = inner;
        } else if part != "?" {
            push(part);
            at = child(at, part).unwrap_or(&Value::Null);
        }
    }
    bracketed(&field)
}

fn child<'a>(value: &'a Value, part: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => value.get(part),
    }
}

/// `list.0.name` as `list[0].name`.
fn bracketed(path: &str) -> String {
    let is_index = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let parts = path.split('.').enumerate();
    parts
        .map(|(i, part)| match (i, is_index(part)) {
            (0, _) => part.to_owned(),
            (_, true) => format!("[{part}]"),
            (_, false) => format!(".{part}"),
        })
        .collect()
}

/// A type error's position ("at line 1 column 80") says nothing beside the field's path.
fn without_position(e: &serde_json::Error) -> String {
    let text = e.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.into())
}

fn check_type<R: Resource>(bytes: &[u8]) -> Result<(), DecodeError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct TypeMeta<'a> {
        #[serde(default, borrow)]
        api_version: std::borrow::Cow<'a, str>,
        #[serde(default, borrow)]
        kind: std::borrow::Cow<'a, str>,
    }
    let given: TypeMeta = serde_json::from_slice(bytes).map_err(|e| DecodeError::Syntax(e.to_string()))?;
    let info = R::KIND;
    for (field, given, wanted) in
        [("apiVersion", &given.api_version, info.api_version()), ("kind", &given.kind, info.kind.into())]
    {
        if !given.is_empty() && **given != wanted {
            return Err(DecodeError::WrongType { field, given: given.to_string(), wanted });
        }
    }
    Ok(())
}

/// An object whose kind is known only at run time: what the generic verbs of the server need.
pub trait AnyObject: Any + Send + Sync + std::fmt::Debug {
    fn info(&self) -> KindInfo;
    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    fn set_defaults(&mut self);
    fn validate(&self) -> FieldErrors;
    /// `old` must be of the same kind; another kind is reported as an error of the field `kind`.
    fn validate_update(&self, old: &dyn AnyObject) -> FieldErrors;
    fn keep_status_of(&mut self, old: &dyn AnyObject);
    fn keep_spec_of(&mut self, old: &dyn AnyObject);
    fn clear_status(&mut self);
    fn same_spec(&self, old: &dyn AnyObject) -> bool;
    fn charge(&self) -> Resources;
    fn claims(&self) -> Vec<Claim>;
    fn references(&self) -> Vec<Reference>;
    fn field(&self, path: &str) -> Option<String>;
    fn row(&self, now: Timestamp) -> Vec<Value>;
    fn encode(&self) -> Vec<u8>;
    fn clone_box(&self) -> Box<dyn AnyObject>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<R: Resource> AnyObject for R {
    fn info(&self) -> KindInfo {
        R::KIND
    }
    fn metadata(&self) -> &ObjectMeta {
        Resource::metadata(self)
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        Resource::metadata_mut(self)
    }
    fn set_defaults(&mut self) {
        self.set_type();
        Resource::set_defaults(self);
    }
    fn validate(&self) -> FieldErrors {
        let mut errors = FieldErrors::default();
        Resource::metadata(self).validate(&mut errors);
        Resource::validate(self, &mut errors);
        errors
    }
    fn validate_update(&self, old: &dyn AnyObject) -> FieldErrors {
        let mut errors = FieldErrors::default();
        match old.as_any().downcast_ref::<R>() {
            Some(old) => Resource::validate_update(self, old, &mut errors),
            None => errors.push("kind", "cannot be changed"),
        }
        errors
    }
    fn keep_status_of(&mut self, old: &dyn AnyObject) {
        if let Some(old) = old.as_any().downcast_ref::<R>() {
            Resource::keep_status_of(self, old);
        }
    }
    fn keep_spec_of(&mut self, old: &dyn AnyObject) {
        if let Some(old) = old.as_any().downcast_ref::<R>() {
            Resource::keep_spec_of(self, old);
        }
    }
    fn clear_status(&mut self) {
        Resource::clear_status(self);
    }
    fn same_spec(&self, old: &dyn AnyObject) -> bool {
        old.as_any().downcast_ref::<R>().is_some_and(|old| Resource::same_spec(self, old))
    }
    fn charge(&self) -> Resources {
        Resource::charge(self)
    }
    fn claims(&self) -> Vec<Claim> {
        Resource::claims(self)
    }
    fn references(&self) -> Vec<Reference> {
        Resource::references(self)
    }
    fn field(&self, path: &str) -> Option<String> {
        match path {
            "metadata.name" => Some(Resource::metadata(self).name.clone()),
            "metadata.namespace" => Some(Resource::metadata(self).namespace.clone()),
            _ => Resource::field(self, path),
        }
    }
    fn row(&self, now: Timestamp) -> Vec<Value> {
        R::columns().iter().map(|column| (column.value)(self, now)).collect()
    }
    fn encode(&self) -> Vec<u8> {
        // Plain data with string keys: serde_json fails on neither, so an empty body cannot occur.
        serde_json::to_vec(self).unwrap_or_default()
    }
    fn clone_box(&self) -> Box<dyn AnyObject> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Instance;

    #[test]
    fn what_cannot_be_read_is_named() {
        let check = |body: &str, expected: &str| {
            let found = decode::<Instance>(body.as_bytes(), true).unwrap_err().to_string();
            assert!(found.starts_with(expected), "{body}: {found}");
        };
        check(r#"{"spec":{"power":7}}"#, "spec.power: the value is of the wrong type");
        check(r#"{"spec":{"power":"on"}}"#, "spec.power: unknown variant `on`");
        check(r#"{"spec":{"colour":"red"}}"#, "unknown field \"spec.colour\"");
        check(r#"{"kind":"Host"}"#, "kind is \"Host\", but this is \"Instance\"");
        check(r#"{"spec":{"power":}}"#, "the body is not valid JSON");
    }
}
