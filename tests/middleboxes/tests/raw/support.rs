//! What http.rs, which the server's own tests share, stands on.

use std::time::Duration;

use bytes::Bytes;

/// Longer than anything here may take, also on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The client id of a name.
pub(crate) fn client_id(name: &str) -> Bytes {
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    Bytes::copy_from_slice(&id)
}
