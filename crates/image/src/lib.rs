//! Images: building, checking, importing and caching them, and the disks that instances get from them.
//!
//! Owns bytes on the way from a stranger to a guest: a format is declared and never guessed, a digest is
//! verified before a byte is used, a header is inspected before a tool opens the file, and the tool runs in a
//! jail. Knows no store, no API and no driver. All calls block; run them on a blocking thread.

mod cache;
mod clusters;
mod convert;
mod digest;
mod disk;
mod fetch;
mod flatten;
mod import;
mod inspect;
mod ova;
mod seed;
mod task;
mod tool;

pub mod build;
pub mod oci;

pub use cache::{Arrival, Cache, CacheError, Staging, Stored};
pub use clusters::{CLUSTER, Cluster, Clusters};
pub use convert::ConvertError;
pub use digest::{Digest, DigestError, HashingWriter};
pub use disk::{DiskError, clone_disk, create_disk};
pub use fetch::{Egress, EgressError, FetchError, Network, fetch};
pub use flatten::{FlattenError, disk_size, flatten, flatten_node};
pub use import::{Import, ImportError, Imported, Source, import};
pub use inspect::{InspectError, VIRTUAL_SIZE_MAX, inspect};
pub use ova::OvaError;
pub use seed::{Seed, SeedError};
pub use task::{Cancel, Progress, Task};
pub use tool::ToolError;
