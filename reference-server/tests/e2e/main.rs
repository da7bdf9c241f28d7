//! The real program, seen from outside: its flags, its exit codes, its sockets.

mod admin;
mod channels;
mod contract;
mod disk_full;
mod doors;
mod drain;
mod embedding;
mod faults;
mod faults_http;
mod gate;
mod homes;
mod hostile;
mod http;
mod http2_floods;
mod json;
mod many;
mod over_http;
mod pressure;
mod program;
mod slow;
mod support;
