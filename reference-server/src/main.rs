//! `tidewire-server`: see `tidewire-server --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidewire_server::cli::main()
}
