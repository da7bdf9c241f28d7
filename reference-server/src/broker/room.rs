/// Whether a broker can keep more, as far as it knows without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Room {
    /// It can.
    Free,
    /// It keeps as much as its settings allow: pushes are told `hold`, what is there is served.
    Limit,
    /// What it writes to is full or broken: the same, and nobody new should be sent to this node. Says what
    /// operators may do about it.
    Broken(&'static str),
}
