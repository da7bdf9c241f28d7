//! The epoch key of a server that was given none: made once, kept beside the data it belongs to.
//!
//! Proofs that clients hold stay good over a restart only if the key does. Whoever may read the file
//! can forge proofs, so only its owner may.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::epoch_key::EpochKey;

/// The file inside a data directory.
const FILE: &str = "epoch.key";

/// Why the kept key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("the epoch key in {} cannot be used: {source}; let this user read and write it, or set epoch_keys", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} holds no epoch key: put its old content back, set epoch_keys, or remove it, then every client proves its claims anew", .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The system gives no randomness to make one of.
    #[error("no randomness to make an epoch key of; set epoch_keys")]
    NoRandomness,
}

/// A key that nobody knows.
pub(crate) fn random() -> Result<EpochKey, KeyFileError> {
    let mut bytes = [0; EpochKey::BYTES];
    getrandom::fill(&mut bytes).map_err(|_| KeyFileError::NoRandomness)?;
    Ok(EpochKey::new(bytes))
}

/// The key of a data directory; a new one where there is none. `new_key` is 32 random bytes.
///
/// The caller holds the directory's lock.
pub(crate) fn read_or_make(dir: &Path, new_key: EpochKey) -> Result<EpochKey, KeyFileError> {
    let path = dir.join(FILE);
    let io = |source| KeyFileError::Io {
        path: path.clone(),
        source,
    };
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim_end()
            .parse()
            .map_err(|_| KeyFileError::Malformed { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(dir, &path, &new_key).map_err(io)?;
            Ok(new_key)
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(KeyFileError::Malformed { path })
        }
        Err(error) => Err(io(error)),
    }
}

/// Complete or not at all, also when the machine dies meanwhile.
fn make(dir: &Path, path: &Path, key: &EpochKey) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    writeln!(file, "{}", key.to_hex())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // Not every system lets a directory be opened; where it does, the name has to be durable too.
    if let Ok(dir) = File::open(dir) {
        dir.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (EpochKey::new([1; 32]), EpochKey::new([2; 32]));
        assert_eq!(read_or_make(dir.path(), one.clone()).unwrap(), one);
        assert_eq!(read_or_make(dir.path(), two).unwrap(), one);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_holds_something_else_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"nonsense", b"\xff\xfe", &[b'0'; 63]] {
            fs::write(dir.path().join(FILE), content).unwrap();
            let error = read_or_make(dir.path(), EpochKey::new([1; 32])).unwrap_err();
            assert!(matches!(error, KeyFileError::Malformed { .. }), "{error}");
            assert!(error.to_string().contains("epoch_keys"), "{error}");
        }
    }
}
