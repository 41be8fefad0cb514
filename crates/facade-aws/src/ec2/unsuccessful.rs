//! What of several that a request names could not be done, and why.

use crate::failure::Failure;
use crate::xml::Xml;

/// What could not be done, by its id. What concerns the request as a whole refuses all of it.
pub(crate) fn note(failed: &mut Vec<(String, Failure)>, id: &str, failure: Failure) -> Result<(), Failure> {
    let of_request = ["UnauthorizedOperation", "RequestLimitExceeded", "DryRunOperation"];
    if failure.status >= 500 || of_request.contains(&failure.code.as_ref()) {
        return Err(failure);
    }
    failed.push((id.chars().take(80).collect(), failure));
    Ok(())
}

pub(crate) fn write(x: &mut Xml, failed: &[(String, Failure)]) {
    x.list("unsuccessful", failed, |x, (id, failure)| {
        x.node("error", |x| {
            x.text("code", &failure.code).text("message", &failure.message);
        })
        .text("resourceId", id);
    });
}
