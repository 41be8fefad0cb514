//! Objects on a local directory: buckets, keys, versions, parts. It knows no protocol and no caller.
//!
//! All that is said of objects, and the bytes of small ones, stand in one SQLite database whose writes are committed
//! in groups: many callers, one fsync. Bytes of big ones are files of their own, written and synced before the row
//! that names them; a file that no row names is what a crash left, and goes at the next start. Every block has a
//! checksum that is compared whenever it is read. What is sealed has it of what lies on the disk: rot is found without a
//! key.

mod copy;
mod database;
mod incoming;
mod list;
mod multipart;
mod objects;
mod read;
mod rows;
mod schema;
mod scrub;
mod seal;
mod types;

pub use copy::Source;
pub use incoming::{Incoming, Staged};
pub use list::{ListQuery, Page};
pub use multipart::{CompletedPart, NewUpload, Part, PartsPage, Upload, UploadQuery};
pub use objects::{Deleted, Objects, Put};
pub use read::Content;
pub use scrub::{Damage, Scrubbed};
pub use seal::{KEY_BYTES, Key, Proof, Sealed, Sealing};
pub use types::{Bucket, Condition, Error, Lock, Meta, OWN, PartMeta, Record, Versioning, WhichVersion};
