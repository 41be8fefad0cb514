//! What an instance printed, and the password it does not have.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::compute::InstanceSpec;

use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::xml::Xml;

/// As much as EC2 keeps, in bytes.
const CONSOLE_MAX: usize = 64 * 1024;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("GetConsoleOutput", &["InstanceId", "Latest"], |c| Box::pin(output(c)))
        .noting("Always the latest 64 KiB."),
    Action::ec2("GetPasswordData", &["InstanceId"], |c| Box::pin(password(c)))
        .noting("Refused: guests are let in by key."),
];

async fn output(c: &Context) -> Answer {
    let instance = c.named::<InstanceSpec>("InstanceId").await?;
    let name = &instance.metadata.name;
    let printed = c.cloud.console(&c.signer.principal, c.project(), name, CONSOLE_MAX).await?;
    let mut x = Xml::new();
    x.text("instanceId", ids::id(&instance)).text("timestamp", c.now());
    // What has printed nothing has no output, rather than an empty one.
    x.given("output", STANDARD.encode(printed));
    Ok(x)
}

async fn password(c: &Context) -> Answer {
    let instance = c.named::<InstanceSpec>("InstanceId").await?;
    let message = format!("Password data is not available for instance {}", ids::id(&instance));
    Err(Failure::unsupported(message))
}
