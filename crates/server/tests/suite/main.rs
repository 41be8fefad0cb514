//! The API as its users see it, in process, over a store in memory.

mod access;
mod binding;
mod changes;
mod cloud;
mod errors;
mod lists;
mod patches;
mod quota;
mod tokens;
mod watches;
