//! The native client against the real server: what users rely on, seen from outside.

mod auth;
mod conflicts;
mod editing;
mod faults;
mod hostile;
mod hostile_http;
mod hostile_values;
mod letting_go;
mod middleboxes;
mod moving;
mod pausing;
mod presence;
mod proxies;
mod quickstart;
#[cfg(target_os = "linux")]
mod quiet;
mod ready;
mod rejection;
mod restart;
mod second;
#[cfg(unix)]
mod stopped;
mod tls;
