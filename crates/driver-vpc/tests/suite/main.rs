//! The VPC driver against the kernel: hosts are network namespaces joined by a bridge. Needs root.

mod groups;
mod life;
mod reach;
mod services;
mod support;
