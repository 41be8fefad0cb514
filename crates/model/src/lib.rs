//! Every kind of Corten as data: spec, status, validation, defaults, columns, typed names and quantities.
//!
//! Owns the shape of all resources and the rules that one object alone can break. Does no I/O, reads no
//! clock, knows neither the server nor any driver. Rules that need a second object (quota, references) live
//! in `server`.

mod claim;
mod condition;
mod fields;
mod meta;
mod name;
mod object;
mod quantity;
mod registry;
mod resource;
mod selector;
mod short_id;
mod status;
mod timestamp;

pub mod compute;
pub mod event;
pub mod identity;
pub mod network;
pub mod secret;
pub mod storage;
pub mod topology;

pub use claim::{Claim, Hold, Reference};
pub use condition::{Condition, ConditionStatus, set_condition};
pub use fields::{FieldError, FieldErrors};
pub use meta::{ObjectMeta, OwnerReference};
pub use name::{Name, NameError, Uid};
pub use object::{Object, Spec};
pub use quantity::{Bytes, CpuMillis, QuantityError, Resources};
pub use registry::{AnyObject, DecodeError, KindEntry, entry_of, kind_by_resource, kind_of, kinds};
pub use resource::{Column, ColumnType, KindInfo, Resource, Scope};
pub use selector::{FieldSelector, LabelSelector, Selector, SelectorError};
pub use short_id::{REGION, is_short_id, short_id, zone_in_region};
pub use status::{ApiError, Cause, Reason};
pub use timestamp::Timestamp;
