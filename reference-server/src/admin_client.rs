//! Commands that ask a running server over its admin door.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

/// For one exchange: the door of a living server answers at once.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer that is longer is none of ours.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// Between two questions whether somebody is still connected.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Why a command did not do what it was for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The command line is not usable.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers there.
    #[error("admin = {url:?}: {source}; give the address that the server printed behind `admin`")]
    Unreachable { url: String, source: io::Error },
    /// The door said no.
    #[error("admin = {url:?}: answered {status}: {text}")]
    Refused {
        url: String,
        status: u16,
        text: String,
    },
    /// It took longer than it may.
    #[error(
        "{connections} clients are still connected after {after:?}; the server goes on draining"
    )]
    Timeout { connections: u64, after: Duration },
}

/// An admin door, and the key for it.
pub(crate) struct AdminClient {
    url: String,
    /// `HOST:PORT`, as `Host` names it.
    authority: String,
    key: Option<String>,
}

impl AdminClient {
    /// `url` is `http://HOST:PORT`, or that without the scheme.
    pub(crate) fn new(url: &str, key_file: Option<&Path>) -> Result<Self, ClientError> {
        let authority = url.strip_prefix("http://").unwrap_or(url);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.is_empty() || authority.contains(['/', '@', ' ', '\r', '\n']) {
            return Err(ClientError::Usage(format!(
                "admin = {url:?} is not http://HOST:PORT; give the address that the server printed \
                 behind `admin`"
            )));
        }
        let key = match key_file {
            Some(path) => Some(read_key(path)?),
            None => None,
        };
        Ok(Self {
            url: url.into(),
            authority: authority.into(),
            key,
        })
    }

    /// Asks the server to drain, and waits until nobody is connected any more.
    pub(crate) fn drain(&self, timeout: Duration) -> Result<(), ClientError> {
        let begun = Instant::now();
        self.ask("POST", "/drain")?;
        let mut connections = 0;
        loop {
            match self.ask("GET", "/health/routing") {
                Ok(answer) => connections = count(&answer, "connections").unwrap_or(connections),
                // It has gone: nobody can be connected.
                Err(ClientError::Unreachable { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
            if connections == 0 {
                return Ok(());
            }
            let after = begun.elapsed();
            if after >= timeout {
                return Err(ClientError::Timeout { connections, after });
            }
            std::thread::sleep(ASK_AGAIN.min(timeout - after));
        }
    }

    fn ask(&self, method: &str, path: &str) -> Result<String, ClientError> {
        let (status, text) = self.exchange(method, path).map_err(|source| {
            let url = self.url.clone();
            ClientError::Unreachable { url, source }
        })?;
        match status {
            200..=299 => Ok(text),
            _ => Err(ClientError::Refused {
                url: self.url.clone(),
                status,
                text: text.trim_end().into(),
            }),
        }
    }

    fn exchange(&self, method: &str, path: &str) -> io::Result<(u16, String)> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(EXCHANGE_TIMEOUT))?;
        stream.set_write_timeout(Some(EXCHANGE_TIMEOUT))?;
        let key = match &self.key {
            Some(key) => format!("Authorization: Bearer {key}\r\n"),
            None => String::new(),
        };
        let authority = &self.authority;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{key}Content-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned());
        match (status, body) {
            (Some(status), Some(body)) => Ok((status, body)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer")),
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, EXCHANGE_TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

fn read_key(path: &Path) -> Result<String, ClientError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ClientError::Usage(format!(
            "key_file = {path:?}: {error}; name a file with a key of the server that this user can read"
        ))
    })?;
    let key = text.trim_ascii_end();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ClientError::Usage(format!(
            "key_file = {path:?} holds no key; it is one line of visible ASCII characters"
        )));
    }
    Ok(key.into())
}

/// A number of a flat JSON object that our own server wrote.
fn count(json: &str, name: &str) -> Option<u64> {
    let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// `40s`, `5m`, `500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: Result<u64, _> = text[..at].parse();
    match (number, &text[at..]) {
        (Ok(number), "ms") => Ok(Duration::from_millis(number)),
        (Ok(number), "s") => Ok(Duration::from_secs(number)),
        (Ok(number), "m") if number <= u64::MAX / 60 => Ok(Duration::from_secs(60 * number)),
        _ => Err("write a time as 40s, 5m or 500ms".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_number_and_a_unit() {
        assert_eq!(duration("40s"), Ok(Duration::from_secs(40)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0ms"), Ok(Duration::ZERO));
        for bad in [
            "",
            "40",
            "s",
            "-1s",
            "1h",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_one_of_a_door() {
        for good in ["http://127.0.0.1:1", "127.0.0.1:1", "http://[::1]:1/"] {
            assert!(AdminClient::new(good, None).is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://",
            "https://127.0.0.1:1",
            "http://a/b",
            "a b:1",
            "http://a@b:1",
        ] {
            assert!(AdminClient::new(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_are_read_from_the_answer() {
        let answer = "{\"status\":\"ok\",\"channels\":3,\"connections\":12}";
        assert_eq!(count(answer, "connections"), Some(12));
        assert_eq!(count(answer, "members"), None);
    }
}
