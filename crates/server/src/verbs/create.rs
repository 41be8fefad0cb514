//! Create.

use client::{Reply, Request};
use identity::Principal;
use model::compute::Instance;
use model::network::Port;
use model::{AnyObject, ApiError, KindInfo, Reason};
use store::{StoreError, Txn};

use super::{decode_input, match_path};
use crate::admission::Operation;
use crate::claims::{Draft, key_of};
use crate::record;
use crate::server::{Server, store_error};

/// Characters that generated names end in: no vowels and no look-alikes, so that no words arise.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// How often a new object is admitted: each time but the first because others were faster.
const CHOICES_MAX: usize = 256;

impl Server {
    pub(crate) async fn create(&self, caller: &Principal, request: Request) -> Result<Reply, ApiError> {
        let mut object = decode_input(request.kind, &request.body)?;
        match_path(&request, &mut *object)?;
        self.begin_life(&mut *object)?;
        self.track_manager(&request, None, &mut *object);
        self.insert(caller, request, object).await
    }

    /// Admits and stores a new object. Its metadata is complete. Where another was faster with something that the
    /// server chose for it, or relied on, it is admitted anew.
    pub(super) async fn insert(
        &self,
        caller: &Principal,
        request: Request,
        object: Box<dyn AnyObject>,
    ) -> Result<Reply, ApiError> {
        self.before_create(&request, &*object).await?;
        for _ in 0..CHOICES_MAX {
            if let Some(reply) = self.try_insert(caller, &request, object.clone_box()).await? {
                if !request.write.dry_run {
                    self.after_create(&*object).await;
                }
                return Ok(reply);
            }
        }
        let what = format!("{} {:?}", request.kind.info.singular, object.metadata().name);
        let message = format!("too many changes at once around {what}; try again");
        Err(ApiError::new(Reason::TooManyRequests, message))
    }

    /// `None` when another was faster, and it is worth to try again.
    async fn try_insert(
        &self,
        caller: &Principal,
        request: &Request,
        mut object: Box<dyn AnyObject>,
    ) -> Result<Option<Reply>, ApiError> {
        let info = &request.kind.info;
        object.set_defaults();
        object.clear_status();
        let mut draft = Draft::default();
        self.admit(caller, Operation::Create, &mut *object, None, &mut draft).await?;
        let key = key_of(&*object);
        let name = object.metadata().name.clone();
        let reservation = self.reserve_quota(None, &*object, &draft.companions).await?;
        let txn = self.with_claims(Txn::new().when(&key, 0), &key, None, Some(&*object), &draft).await?;
        if request.write.dry_run {
            if let Some(instance) = object.as_any_mut().downcast_mut::<Instance>() {
                self.preview_placement(instance).await?;
                preview_addresses(instance, &draft);
            }
            return Ok(Some(Reply { body: record::encode(&mut *object), created: true }));
        }
        let value = record::encode(&mut *object);
        let mut txn = txn.put(&key, value.clone());
        for companion in &mut draft.companions {
            let beside = key_of(&**companion);
            txn = txn.when(&beside, 0).put(beside, record::encode(&mut **companion));
        }
        let txn = self.fenced(request, txn).await?;
        match self.inner.store.txn(txn).await {
            Ok(revision) => {
                reservation.commit(revision);
                self.inner.access.follow(info, revision).await;
                Ok(Some(Reply { body: record::wire(&value, revision), created: true }))
            }
            Err(StoreError::Conflict { key: conflicting, .. }) if conflicting == key => Err(ApiError::new(
                Reason::AlreadyExists,
                format!("{} {name:?} already exists", info.resource()),
            )),
            Err(StoreError::Conflict { key: conflicting, .. }) => {
                let beside = draft.companions.iter().find(|companion| key_of(&***companion) == conflicting);
                match beside {
                    Some(companion) => Err(stands_in_the_way(info, &name, &**companion)),
                    None => Ok(None),
                }
            }
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

/// The addresses that a dry run found.
fn preview_addresses(instance: &mut Instance, draft: &Draft) {
    let ports = draft.companions.iter().filter_map(|companion| companion.as_any().downcast_ref::<Port>());
    instance.status.addresses =
        ports.flat_map(|port| &port.spec.addresses).map(ToString::to_string).collect();
}

fn stands_in_the_way(info: &KindInfo, name: &str, companion: &dyn AnyObject) -> ApiError {
    let (kind, other) = (companion.info().singular, &companion.metadata().name);
    // Not "already exists": that would say of the object itself that it is there.
    ApiError::conflict(format!(
        "{} {name:?} needs a {kind} of the name {other:?}, and there is one: delete that, or choose another name",
        info.singular
    ))
}
