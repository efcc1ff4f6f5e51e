//! Real network namespaces on demand: the stage of the tests, of `weir demo` and of the benchmark.
//!
//! A [`Lab`] makes namespaces ([`Node`]), joins them by veth pairs, runs closures and programs in them, and undoes
//! everything when it is dropped. What a killed run left behind is swept by the next one. It needs root, `ip`
//! (iproute2) and `nsenter` (util-linux), and nothing else. Readiness is always seen, never slept for.
//!
//! ```no_run
//! # fn main() -> Result<(), weir_lab::LabError> {
//! let mut lab = weir_lab::Lab::new("echo")?;
//! let (client, pod) = (lab.node("client")?, lab.node("pod")?);
//! let link = lab.join(&client, &pod)?;
//! let mut server = pod.spawn(pod.command("nginx"))?;
//! server.wait_ready((link.b.v4, 80), std::time::Duration::from_secs(10))?;
//! let (status, body) = client.http_get((link.b.v4, 80), "/")?;
//! # Ok(()) }
//! ```

mod binary;
mod error;
mod http;
mod lab;
mod line;
mod namespace;
mod node;
mod patience;
mod process;
mod root;

pub use binary::binary;
pub use error::LabError;
pub use lab::{Addresses, Lab, Link};
pub use line::{Line, Quality};
pub use node::Node;
pub use process::{Process, Usage};
pub use root::{require_root, skip, skip_unless_root};
