//! Documents that must not drift from the code.

use tidewire_core::wire::ErrorCode;

#[test]
fn the_protocol_lists_every_code_with_its_number_and_retry() {
    let protocol = include_str!("../../docs/protocol/codes.md");
    for code in ErrorCode::ALL {
        let row = format!("| {} | `{}` |", *code as u32, code.name());
        let line = protocol.lines().find(|line| line.starts_with(&row));
        let line = line.unwrap_or_else(|| panic!("docs/protocol/codes.md lacks {row}"));
        let retry = if code.is_retryable() { "yes" } else { "no" };
        assert_eq!(line.split(" | ").nth(3), Some(retry), "{line}");
    }
}
