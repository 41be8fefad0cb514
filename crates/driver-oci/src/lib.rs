//! The container driver: cell `namespace/containers`, with crun or runc behind it.
//!
//! A sandbox is one network, IPC and host name namespace, kept by bind mounts so that containers may come and
//! go, one control group with the sandbox's limits, and one container per [`driver::ContainerPlan`]: an overlay
//! of the image's layers, a `config.json`, and one `conmon` that outlives the agent, owns the container's
//! output and writes down how it ended. What is true is read from the kernel and from those files each time;
//! the driver remembers nothing, so a new one adopts all there is.
//!
//! A container's root is the host's root with Docker's default capabilities, a system call filter, no new
//! privileges and masked paths. There is no user namespace yet: it needs identity-mapped layers and a range of
//! ids per sandbox, where a plan has one.
//!
//! Owns no network beyond the empty namespace, no image and no policy: who restarts what is the agent's say.

mod attach;
mod bundle;
mod cgroup;
mod compute;
mod console;
mod exec;
mod facts;
mod launch;
mod options;
mod paths;
mod pty;
mod runtime;
mod sandbox;
mod stop;
mod user;
mod volumes;
mod watch;

pub use compute::OciDriver;
pub use options::OciOptions;
pub use runtime::quickest_runtime;
