//! What a frame without a function's name is called.

/// The address, `0x…`, or `<unknown>` when that is 0.
pub fn place_name(address: u64) -> String {
    match address {
        0 => "<unknown>".to_owned(),
        address => format!("{address:#x}"),
    }
}
