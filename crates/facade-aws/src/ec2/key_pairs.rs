//! Key pairs. A name that an object may have is its name; another is kept beside it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::compute::{KeyPair, KeyPairSpec};
use model::{Name, Object, ObjectMeta};
use ring::digest::{SHA256, digest};

use crate::actions::{Action, Answer};
use crate::cloud::KeyType;
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// The name in EC2 of a key pair that cannot be called so here.
const KEY_NAME: &str = "aws.corten.dev/key-name";
const NAME_MAX: usize = 255;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("CreateKeyPair", &["KeyName", "KeyType", "KeyFormat", "TagSpecification"], |c| {
        Box::pin(create(c))
    })
    .noting("The cloud keeps only the public half. PEM alone."),
    Action::ec2("ImportKeyPair", &["KeyName", "PublicKeyMaterial", "TagSpecification"], |c| {
        Box::pin(import(c))
    }),
    Action::ec2(
        "DescribeKeyPairs",
        &["Filter", "KeyName", "KeyPairId", "IncludePublicKey", "MaxResults", "NextToken"],
        |c| Box::pin(describe(c)),
    )
    .noting("Fingerprints are SHA-256 of the public key, of all types."),
    Action::ec2("DeleteKeyPair", &["KeyName", "KeyPairId"], |c| Box::pin(delete(c))),
];

/// A key pair's name in EC2.
pub(crate) fn name(pair: &KeyPair) -> &str {
    pair.metadata.annotations.get(KEY_NAME).unwrap_or(&pair.metadata.name)
}

/// The name of the object of a key pair of this name.
fn object_name(name: &str) -> String {
    if Name::new(name).is_ok() { name.to_owned() } else { ids::hashed("key", name) }
}

pub(crate) async fn by_name(c: &Context, wanted: &str) -> Result<KeyPair, Failure> {
    let found = c.api::<KeyPairSpec>().find(&object_name(wanted)).await?;
    found.filter(|pair| name(pair) == wanted).ok_or_else(|| none(wanted))
}

fn none(name: &str) -> Failure {
    let name: String = name.chars().take(80).collect();
    Failure::new("InvalidKeyPair.NotFound", format!("The key pair '{name}' does not exist"))
}

struct Key {
    pair_id: String,
    name: String,
    public: String,
    created_at: String,
    shows_public: bool,
    tags: Tags,
}

impl Key {
    fn of(pair: &KeyPair, shows_public: bool) -> Self {
        Self {
            pair_id: ids::id(pair),
            name: name(pair).to_owned(),
            public: pair.spec.public_key.clone(),
            created_at: super::created_at(&pair.metadata),
            shows_public,
            tags: tags::of(&pair.metadata),
        }
    }

    fn key_type(&self) -> &'static str {
        match self.public.split_whitespace().next() {
            Some("ssh-ed25519") => "ed25519",
            Some("ssh-rsa") => "rsa",
            _ => "ecdsa",
        }
    }

    /// SHA-256 of the public key, as `ssh-keygen -l` has it.
    fn fingerprint(&self) -> String {
        let blob = self.public.split_whitespace().nth(1).unwrap_or("");
        let blob = STANDARD.decode(blob).unwrap_or_default();
        STANDARD.encode(digest(&SHA256, &blob))
    }

    fn head(&self, x: &mut Xml) {
        x.text("keyName", &self.name).text("keyFingerprint", self.fingerprint());
    }
}

impl Item for Key {
    const FILTERS: &'static [&'static str] = &["key-pair-id", "key-name", "fingerprint"];

    fn id(&self) -> &str {
        &self.name
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "key-pair-id" => self.pair_id.clone(),
            "fingerprint" => self.fingerprint(),
            _ => self.name.clone(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("keyPairId", &self.pair_id);
        self.head(x);
        x.text("keyType", self.key_type());
        tags::write(x, &self.tags);
        if self.shows_public {
            x.text("publicKey", &self.public);
        }
        x.given("createTime", &self.created_at);
    }
}

async fn describe(c: &Context) -> Answer {
    let shows_public = c.params.flag("IncludePublicKey")?.unwrap_or(false);
    let pairs = c.list::<KeyPairSpec>().await?;
    let by_id = c.params.list("KeyPairId");
    if let Some(missing) = by_id.iter().find(|id| !pairs.iter().any(|pair| ids::id(pair) == **id)) {
        return Err(none(missing));
    }
    let chosen = pairs.iter().filter(|pair| by_id.is_empty() || by_id.contains(&ids::id(pair)));
    let keys = chosen.map(|pair| Key::of(pair, shows_public)).collect();
    Ok(answer("keySet", &select(&c.params, &Ids { parameter: "KeyName", none }, keys)?))
}

async fn create(c: &Context) -> Answer {
    if c.params.get("KeyFormat").is_some_and(|format| format != "pem") {
        return Err(Failure::unsupported("Keys are given as PEM; puttygen makes a PPK of it"));
    }
    let key_type = match c.params.get("KeyType") {
        None | Some("rsa") => KeyType::Rsa,
        Some("ed25519") => KeyType::Ed25519,
        Some(other) => return Err(c.params.invalid("KeyType", other, "must be rsa or ed25519")),
    };
    let object = new(c)?;
    // Looked for before a key is made, which takes its time; the creation decides.
    if c.api::<KeyPairSpec>().find(&object.metadata.name).await?.is_some() {
        return Err(duplicate(c)?);
    }
    let key = c.cloud.make_key(key_type).await?;
    let made = store(c, object, key.public).await?;
    let shown = Key::of(&made, false);
    let mut x = Xml::new();
    shown.head(&mut x);
    x.text("keyMaterial", key.private).text("keyPairId", &shown.pair_id);
    tags::write(&mut x, &shown.tags);
    Ok(x)
}

async fn import(c: &Context) -> Answer {
    let malformed = || Failure::new("InvalidKey.Format", "Key is not in valid OpenSSH public key format");
    let material: String =
        c.params.require("PublicKeyMaterial")?.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let text = STANDARD.decode(material).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let public = text.ok_or_else(malformed)?.trim().to_owned();
    let made = store(c, new(c)?, public).await.map_err(|e| match e.code.as_ref() {
        "InvalidParameterValue" => malformed(),
        _ => e,
    })?;
    let shown = Key::of(&made, false);
    let mut x = Xml::new();
    shown.head(&mut x);
    x.text("keyPairId", &shown.pair_id);
    tags::write(&mut x, &shown.tags);
    Ok(x)
}

fn new(c: &Context) -> Result<KeyPair, Failure> {
    let name = c.params.require("KeyName")?;
    if name.chars().count() > NAME_MAX {
        return Err(c.params.invalid("KeyName", name, "must have at most 255 characters"));
    }
    let mut meta = ObjectMeta::in_project(c.project(), object_name(name));
    if meta.name != name {
        meta.annotations.insert(KEY_NAME.into(), name.into());
    }
    tags::give(&mut meta, tags::for_new(&c.params, "key-pair")?);
    Ok(Object::new(meta, KeyPairSpec::default()))
}

fn duplicate(c: &Context) -> Result<Failure, Failure> {
    let name = c.params.require("KeyName")?;
    Ok(Failure::new("InvalidKeyPair.Duplicate", format!("The keypair '{name}' already exists.")))
}

async fn store(c: &Context, mut pair: KeyPair, public: String) -> Result<KeyPair, Failure> {
    pair.spec.public_key = public;
    match c.api::<KeyPairSpec>().create(&pair).await {
        Err(e) if e.reason == model::Reason::AlreadyExists => Err(duplicate(c)?),
        result => {
            let made = result?;
            c.end_dry_run()?;
            Ok(made)
        }
    }
}

async fn delete(c: &Context) -> Answer {
    let found = match (c.params.get("KeyName"), c.params.get("KeyPairId")) {
        (Some(name), _) => by_name(c, name).await,
        (None, Some(id)) => c.find::<KeyPairSpec>(id).await,
        (None, None) => return Err(Failure::missing("KeyName")),
    };
    let mut x = super::done();
    match found {
        // EC2 deletes what is not there without a word.
        Err(e) if e.code == "InvalidKeyPair.NotFound" => {}
        Err(e) => return Err(e),
        Ok(pair) => {
            c.delete::<KeyPairSpec>(&pair.metadata.name, "DependencyViolation").await?;
            x.text("keyPairId", ids::id(&pair));
        }
    }
    Ok(x)
}
