//! Objects, as commands reach them: S3's protocol on the cloud's own address, signed with the key that `corten env aws`
//! shows. What is copied, and in what order, is the commands' own.

mod address;
mod answer;
mod calls;
mod checksum;
mod parts;
mod store;

pub(crate) use address::{Address, Place};
pub(crate) use calls::{Head, Listed, Page, Version};
pub(crate) use checksum::Checksum;
pub(crate) use parts::UploadedPart;
pub(crate) use store::Store;
