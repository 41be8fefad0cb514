//! placeholder
use crate::Context;
pub(crate) async fn run(_context: Context) {}
