//! Create.

use client::{Reply, Request};
use identity::Principal;
use model::compute::Instance;
use model::{AnyObject, ApiError, Reason};
use store::{StoreError, Txn};

use super::{decode_input, match_path};
use crate::admission::Operation;
use crate::record;
use crate::server::{Server, store_error};

/// Characters that generated names end in: no vowels and no look-alikes, so that no words arise.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;

impl Server {
    pub(crate) async fn create(&self, caller: &Principal, request: Request) -> Result<Reply, ApiError> {
        let mut object = decode_input(request.kind, &request.body)?;
        match_path(&request, &mut *object)?;
        self.begin_life(&mut *object)?;
        self.track_manager(&request, None, &mut *object);
        self.insert(caller, request, object).await
    }

    /// Admits and stores a new object. Its metadata is complete.
    pub(super) async fn insert(
        &self,
        caller: &Principal,
        request: Request,
        mut object: Box<dyn AnyObject>,
    ) -> Result<Reply, ApiError> {
        let info = &request.kind.info;
        object.set_defaults();
        object.clear_status();
        self.admit(caller, Operation::Create, &mut *object, None).await?;
        let (project, name) = (object.metadata().namespace.clone(), object.metadata().name.clone());
        let reservation = self.reserve_quota(None, &*object).await?;
        if request.write.dry_run {
            if let Some(instance) = object.as_any_mut().downcast_mut::<Instance>() {
                self.preview_placement(instance).await?;
            }
            return Ok(Reply { body: record::encode(&mut *object), created: true });
        }
        let value = record::encode(&mut *object);
        let key = info.key(&project, &name);
        let txn = self.fenced(&request, Txn::new().when(&key, 0).put(&key, value.clone())).await?;
        match self.inner.store.txn(txn).await {
            Ok(revision) => {
                reservation.commit(revision);
                self.inner.access.follow(info, revision).await;
                Ok(Reply { body: record::wire(&value, revision), created: true })
            }
            Err(StoreError::Conflict { key: conflicting, .. }) if conflicting == key => Err(ApiError::new(
                Reason::AlreadyExists,
                format!("{} {name:?} already exists", info.resource()),
            )),
            Err(e) => Err(store_error(e)),
        }
    }

    /// Gives a new object its identity and drops what a caller cannot decide.
    pub(super) fn begin_life(&self, object: &mut dyn AnyObject) -> Result<(), ApiError> {
        let meta = object.metadata_mut();
        if !meta.resource_version.is_empty() {
            return Err(ApiError::bad_request("metadata.resourceVersion must be empty when creating"));
        }
        if meta.name.is_empty() {
            if meta.generate_name.is_empty() {
                return Err(ApiError::bad_request("metadata.name must be set (or metadata.generateName)"));
            }
            meta.name = format!("{}{}", meta.generate_name, self.suffix());
        }
        meta.uid = self.inner.environment.uid();
        meta.creation_timestamp = Some(self.inner.environment.now());
        meta.deletion_timestamp = None;
        meta.deletion_grace_period_seconds = None;
        meta.self_link = None;
        meta.generation = 1;
        Ok(())
    }

    fn suffix(&self) -> String {
        let random = self.inner.environment.random();
        let pick = |byte: &u8| char::from(SUFFIX_ALPHABET[usize::from(*byte) % SUFFIX_ALPHABET.len()]);
        random.iter().take(SUFFIX_LENGTH).map(pick).collect()
    }
}
