//! Who asks, of which bucket, and whether he may.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use ::objects::{Objects, Versioning};
use client::ListParams;
use identity::iam::Through;
use identity::{Holder, Principal};
use model::storage::{Bucket, BucketSpec, BucketVersioning};
use s3s::access::{S3Access, S3AccessContext};
use s3s::path::S3Path;
use s3s::{S3Request, S3Result, s3_error};

use crate::failure::{self, refused};
use crate::operations::Operations;
use crate::permission::{self, Question};

/// Who asks: a key's holder, or nobody that is known.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) holder: Option<Holder>,
    pub(crate) origin: Origin,
}

/// Where a request came from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    pub(crate) from: Option<IpAddr>,
    pub(crate) through: Option<Arc<Through>>,
}

impl Asker {
    pub(crate) fn is_of(&self, project: &str) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.project == project)
    }

    /// What he is told of a bucket that is not there, or not for him.
    pub(crate) fn knows_none(&self, bucket: &str) -> s3s::S3Error {
        match self.holder {
            Some(_) => s3_error!(NoSuchBucket, "there is no bucket {bucket:?} in this project"),
            None => s3_error!(AccessDenied, "the request is not signed"),
        }
    }
}

/// A bucket that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) project: String,
    pub(crate) uid: String,
    pub(crate) spec: Arc<BucketSpec>,
}

/// A caller and the bucket he named, after he was found to be allowed what he asks.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) asker: Asker,
    /// The project of the bucket; the caller's own where none is named.
    pub(crate) project: String,
    /// The bucket's uid; empty where none is needed.
    pub(crate) bucket: String,
    pub(crate) spec: Arc<BucketSpec>,
}

impl Place {
    pub(crate) fn of<T>(request: &S3Request<T>) -> S3Result<Self> {
        request.extensions.get::<Self>().cloned().ok_or_else(|| s3_error!(AccessDenied))
    }

    pub(crate) fn found(&self) -> Found {
        Found { project: self.project.clone(), uid: self.bucket.clone(), spec: Arc::clone(&self.spec) }
    }

    /// In whose name the bucket's object is changed. Whoever is not of its project was let in by its policy, and has
    /// no rights of his own there.
    pub(crate) fn principal(&self) -> Principal {
        match &self.asker.holder {
            Some(holder) if holder.project == self.project => holder.principal.clone(),
            _ => component(),
        }
    }
}

pub(crate) fn component() -> Principal {
    Principal::component("objects")
}

/// Buckets that have their place in the object store: which change of each it follows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Arc<Mutex<HashMap<String, (u64, BucketVersioning)>>>);

impl Known {
    /// Buckets that were made or changed through the cloud's own API get their place here when they are next used.
    pub(crate) async fn follow(&self, objects: &Objects, bucket: &Bucket) -> Result<(), ::objects::Error> {
        let uid = bucket.metadata.uid.to_string();
        let now = (bucket.metadata.generation, bucket.spec.versioning);
        let known = self.0.lock().ok().and_then(|known| known.get(&uid).copied());
        // An older state that was read before a change and comes after it changes nothing back.
        if known.is_some_and(|known| known.0 >= now.0) {
            return Ok(());
        }
        objects.create_bucket(&uid).await?;
        let versioning = match now.1 {
            BucketVersioning::Off => Versioning::Off,
            BucketVersioning::Enabled => Versioning::Enabled,
            BucketVersioning::Suspended => Versioning::Suspended,
        };
        objects.set_versioning(&uid, versioning).await?;
        if let Ok(mut known) = self.0.lock() {
            known.insert(uid, now);
        }
        Ok(())
    }
}

/// Asks of one request.
pub(crate) struct Access {
    operations: Operations,
    known: Known,
    holder: Option<Holder>,
    origin: Origin,
}

impl Access {
    pub(crate) fn new(operations: Operations, known: Known, holder: Option<Holder>, origin: Origin) -> Self {
        Self { operations, known, holder, origin }
    }

    fn asker(&self, key: Option<&str>) -> S3Result<Asker> {
        let origin = self.origin.clone();
        let Some(key) = key else { return Ok(Asker { holder: None, origin }) };
        let cloud = &self.operations.cloud;
        // Also after its signature was right a key may have gone.
        let holder = self.holder.clone().or_else(|| cloud.holder(key, None));
        let holder = holder.ok_or_else(|| s3_error!(SignatureDoesNotMatch))?;
        if holder.expires.is_some_and(|at| at <= cloud.now()) {
            return Err(s3_error!(ExpiredToken));
        }
        // Temporary credentials are too many to remember, and nobody asks.
        if holder.expires.is_none() {
            cloud.note_use(key);
        }
        Ok(Asker { holder: Some(holder), origin })
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let key = cx.credentials().map(|credentials| credentials.access_key.clone());
        let asker = self.asker(key.as_deref())?;
        let (name, object) = match cx.s3_path() {
            S3Path::Root => ("", None),
            S3Path::Bucket { bucket } => (&**bucket, None),
            S3Path::Object { bucket, key } => (&**bucket, Some(&**key)),
        };
        let (name, object) = (name.to_owned(), object.map(str::to_owned));
        let operation = cx.s3_op().name();
        let questions = permission::questions(operation, &name, object.as_deref(), cx.uri(), cx.headers());
        let own = asker.holder.as_ref().map(|holder| holder.project.clone());
        if name.is_empty() || operation == "CreateBucket" {
            let project = own.ok_or_else(|| s3_error!(AccessDenied, "the request is not signed"))?;
            for question in &questions {
                self.operations.may(&asker, None, question)?;
            }
            let place = Place { asker, project, bucket: String::new(), spec: Arc::default() };
            cx.extensions_mut().insert(place);
            return Ok(());
        }
        let (found, bucket) = self.operations.find(&asker, &name, &questions).await?;
        let owner = cx.headers().get("x-amz-expected-bucket-owner").and_then(|value| value.to_str().ok());
        let is_other = owner.is_some_and(|owner| owner != identity::iam::account_number(&found.project));
        let is_going = bucket.metadata.is_deleting() && permission::adds(operation);
        // Nothing was asked yet of whoever names his keys in the body, and he is told nothing.
        if questions.is_empty() && !asker.is_of(&found.project) && (is_other || is_going) {
            return Err(asker.knows_none(&name));
        }
        if is_other {
            return Err(s3_error!(AccessDenied, "the bucket belongs to another account than was expected"));
        }
        // Until it is empty it is there for who reads and deletes.
        if is_going {
            return Err(s3_error!(NoSuchBucket, "the bucket {name:?} is being deleted"));
        }
        self.known.follow(&self.operations.objects, &bucket).await.map_err(failure::of)?;
        let place = Place { asker, project: found.project, bucket: found.uid, spec: found.spec };
        cx.extensions_mut().insert(place);
        Ok(())
    }
}

impl Operations {
    /// A bucket, for who may all that he asks of it. That of another project is there only for who is allowed to.
    pub(crate) async fn find(
        &self,
        asker: &Asker,
        name: &str,
        questions: &[Question],
    ) -> S3Result<(Found, Bucket)> {
        let own = asker.holder.as_ref().map(|holder| holder.project.as_str());
        let none = || asker.knows_none(name);
        let mut bucket = match own {
            Some(project) => self.bucket(project, name).await?,
            None => None,
        };
        let is_own = bucket.is_some();
        if bucket.is_none() {
            bucket = self.bucket_anywhere(name).await?;
        }
        let found = bucket.as_ref().map(|bucket| Found {
            project: bucket.metadata.namespace.clone(),
            uid: bucket.metadata.uid.to_string(),
            spec: Arc::new(bucket.spec.clone()),
        });
        for question in &self.with_tags(asker, found.as_ref(), questions).await? {
            match self.may(asker, found.as_ref(), question) {
                Err(_) if !is_own && found.is_some() => return Err(none()),
                result => result?,
            }
        }
        found.zip(bucket).ok_or_else(none)
    }

    /// A bucket of a project, by its name.
    pub(crate) async fn bucket(&self, project: &str, name: &str) -> S3Result<Option<Bucket>> {
        if !model::storage::is_bucket_name(name) {
            return Ok(None);
        }
        let client = self.cloud.client(&component());
        client.project::<Bucket>(project).find(name).await.map_err(refused)
    }

    /// A bucket of any project: names are unique in the whole cloud.
    pub(crate) async fn bucket_anywhere(&self, name: &str) -> S3Result<Option<Bucket>> {
        if !model::storage::is_bucket_name(name) {
            return Ok(None);
        }
        let client = self.cloud.client(&component());
        let list = ListParams { field_selector: format!("metadata.name={name}"), ..ListParams::default() };
        Ok(client.all::<Bucket>().list(&list).await.map_err(refused)?.items.into_iter().next())
    }
}
