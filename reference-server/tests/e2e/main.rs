//! The real program, seen from outside: its flags, its exit codes, its sockets.

mod admin;
mod channels;
mod contract;
mod disk_full;
mod doors;
mod drain;
mod embedding;
mod faults;
mod gate;
mod hostile;
mod json;
mod many;
mod pressure;
mod program;
mod slow;
mod support;
