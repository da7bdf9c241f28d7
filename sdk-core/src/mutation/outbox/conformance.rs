//! What every store has to do, as requests and the answers that are expected: whoever writes a store runs
//! these, on whatever it stands and however it waits.
//!
//! ```
//! use tidewire_core::conformance::{CHANNEL, cases};
//! use tidewire_core::{ClientId, MemoryOutbox, OutboxRequest};
//!
//! for case in cases() {
//!     let mut store = MemoryOutbox::new(ClientId([7; 16]));
//!     store.handle(OutboxRequest::Open { principal: None });
//!     for step in case.steps {
//!         // A durable store is closed and opened again where `step.reopen` says so.
//!         let reply = store.handle(step.request.clone());
//!         step.check(&reply).unwrap_or_else(|e| panic!("{}: {e}", case.name));
//!     }
//! }
//! assert_eq!(CHANNEL, "board:main");
//! ```

use bytes::Bytes;

use super::{
    AHEAD_MAX, After, CommittedRow, Judgement, Low, NewRow, OutboxReply, OutboxRequest, OutboxRow,
    Settlement, StoredChannel,
};
use crate::channel::name::ChannelName;
use crate::mutation::{MutationHandle, MutationStatus};
use crate::time::UnixTime;

/// The channel of all requests.
pub const CHANNEL: &str = "board:main";

/// One rule.
#[derive(Clone, Debug)]
pub struct Case {
    /// The rule.
    pub name: &'static str,
    /// In a store that is empty, and open.
    pub steps: Vec<Step>,
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Step {
    /// Before it the store is closed and opened again, if it outlives that.
    pub reopen: bool,
    /// What is asked for.
    pub request: OutboxRequest,
    /// What has to be answered.
    pub expected: OutboxReply,
}

impl Step {
    /// Errors: both answers, for people.
    pub fn check(&self, reply: &OutboxReply) -> Result<(), String> {
        if *reply == self.expected {
            return Ok(());
        }
        let (request, expected) = (&self.request, &self.expected);
        Err(format!(
            "{request:?} was answered {reply:?}, not {expected:?}"
        ))
    }
}

/// All rules.
#[must_use]
pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "numbers are contiguous from 1, and survive",
            steps: vec![
                append(&[row(1), row(2)], &[1, 2]),
                append(&[row(3)], &[3]).reopened(),
                load(&[fresh(1), fresh(2), fresh(3)], low(1)),
            ],
        },
        Case {
            name: "a number is never given twice, also when all rows have left",
            steps: vec![
                append(&[row(1)], &[1]),
                attempt(1, 1, low(1), &[sent(1, 1)]),
                settle(&[committed(1)], &[committed(1)]),
                append(&[row(2)], &[2]).reopened(),
            ],
        },
        Case {
            name: "marks are set in order from the lowest row on, and deadlines freeze with them",
            steps: vec![
                append(&[row(1), row(2), row(3)], &[1, 2, 3]),
                attempt(2, 2, low(1), &[sent(2, 1)]),
                load(
                    &[
                        OutboxRow {
                            epoch: 0,
                            ..sent(1, 1)
                        },
                        sent(2, 1),
                        fresh(3),
                    ],
                    low(1),
                )
                .reopened(),
                attempt_by(
                    1,
                    3,
                    50,
                    low(1),
                    &[sent(1, 2), sent(2, 2), due(sent(3, 1), 50)],
                ),
                attempt_by(3, 3, 20, low(1), &[due(sent(3, 2), 50)]),
            ],
        },
        Case {
            name: "a row keeps a deadline of its own if that is earlier, or what the session knows better",
            steps: vec![
                append(
                    &[until(row(1), 40), until(row(2), 400), until(row(3), 40)],
                    &[1, 2, 3],
                ),
                Step {
                    request: OutboxRequest::Attempt {
                        channel: name(),
                        from: 1,
                        through: 3,
                        epoch: 5,
                        latest: UnixTime(100),
                        deadlines: vec![(3, UnixTime(60))],
                    },
                    ..attempt(
                        1,
                        3,
                        low(1),
                        &[
                            due(sent(1, 1), 40),
                            due(sent(2, 1), 100),
                            due(sent(3, 1), 60),
                        ],
                    )
                },
            ],
        },
        Case {
            name: "`low` says what a marked row comes after, wherever that was written",
            steps: vec![
                append(&[row(1), after(row(2), After::Back(1))], &[1, 2]),
                append(&[after(row(3), After::Row(2))], &[3]),
                attempt(
                    1,
                    2,
                    Low {
                        first: 1,
                        after: Some(1),
                        epoch: 5,
                    },
                    &[sent(1, 1), behind(sent(2, 1), 1)],
                ),
                settle(&[refused(1)], &[refused(1)]),
                attempt(
                    3,
                    3,
                    Low {
                        first: 2,
                        after: Some(1),
                        epoch: 5,
                    },
                    &[behind(sent(3, 1), 2)],
                ),
            ],
        },
        Case {
            name: "what was never sent becomes a no-op, and what carries a mark does not",
            steps: vec![
                append(&[row(1), row(2)], &[1, 2]),
                attempt(1, 1, low(1), &[sent(1, 1)]),
                neutralise(
                    &[cancelled(1), cancelled(2), cancelled(9)],
                    &[cancelled(2)],
                    &[1, 9],
                ),
                neutralise(&[expired(2)], &[cancelled(2)], &[]).reopened(),
                load(&[sent(1, 1), ended(fresh(2))], low(1)),
                attempt(2, 2, low(1), &[due(ended(sent(2, 1)), 100)]),
            ],
        },
        Case {
            name: "a no-op has no deadline of its own: nothing of it can be late",
            steps: vec![
                append(&[until(row(1), 50)], &[1]),
                neutralise(&[cancelled(1)], &[cancelled(1)], &[]),
                attempt(1, 1, low(1), &[ended(sent(1, 1))]),
            ],
        },
        Case {
            name: "what had ended before it was written is never anything else",
            steps: vec![
                append(
                    &[NewRow {
                        ended: Some(MutationStatus::Cancelled),
                        item: Bytes::new(),
                        ..row(1)
                    }],
                    &[1],
                ),
                load(&[ended(fresh(1))], low(1)).reopened(),
            ],
        },
        Case {
            name: "what comes after a committed one that is gone comes after nothing",
            steps: vec![
                append(&[row(1), after(row(2), After::Row(1))], &[1, 2]),
                attempt(1, 1, low(1), &[sent(1, 1)]),
                settle(&[committed(1)], &[committed(1)]),
                attempt(2, 2, low(2), &[sent(2, 1)]),
            ],
        },
        Case {
            name: "`low` stays below what was sent to come after something, also once that was committed",
            steps: vec![
                append(&[row(1), row(2), after(row(3), After::Row(1))], &[1, 2, 3]),
                attempt(
                    1,
                    3,
                    Low {
                        after: Some(1),
                        ..low(1)
                    },
                    &[sent(1, 1), sent(2, 1), behind(sent(3, 1), 1)],
                ),
                settle(&[committed(1), refused(2)], &[committed(1), refused(2)]),
                attempt(
                    3,
                    3,
                    Low {
                        after: Some(1),
                        ..low(3)
                    },
                    &[sent_behind(sent(3, 2), 1)],
                ),
                settle(&[committed(3)], &[committed(3)]),
                append(&[row(4)], &[4]),
                attempt(4, 4, low(4), &[sent(4, 1)]),
            ],
        },
        Case {
            name: "what comes after a failure is a no-op before it is marked",
            steps: vec![
                append(&[row(1), after(row(2), After::Row(1))], &[1, 2]),
                attempt(1, 1, low(1), &[sent(1, 1)]),
                settle(&[refused(1)], &[refused(1)]),
                attempt(
                    2,
                    2,
                    low(2),
                    &[OutboxRow {
                        ended: Some(MutationStatus::dep_failed()),
                        ..ended(sent(2, 1))
                    }],
                ),
            ],
        },
        Case {
            name: "what comes far behind an undecided one waits for it, and whoever asks learns of that one",
            steps: {
                let far = AHEAD_MAX + 2;
                let numbers: Vec<u64> = (1..=far).collect();
                let mut rows: Vec<NewRow> = numbers.iter().map(|&n| row(n)).collect();
                rows[far as usize - 1].after = After::Row(1);
                let waiting = behind(fresh(far), 1);
                let mut there: Vec<OutboxRow> = (1..far).map(|n| sent(n, 1)).collect();
                there.push(waiting.clone());
                vec![
                    append(&rows, &numbers),
                    attempt(1, far, low(1), &there),
                    attempt(far, far, low(1), &[sent(1, 1), waiting]),
                    settle(&[committed(1)], &[committed(1)]),
                    attempt(far, far, low(2), &[sent(far, 1)]),
                ]
            },
        },
        Case {
            name: "an outcome is the first one that was stored, a no-op's its own",
            steps: vec![
                append(&[row(1), row(2), row(3)], &[1, 2, 3]),
                neutralise(&[cancelled(1)], &[cancelled(1)], &[]),
                attempt(1, 3, low(1), &[ended(sent(1, 1)), sent(2, 1), sent(3, 1)]),
                settle(
                    &[committed(1), committed(2), refused(3)],
                    &[cancelled(1), committed(2), refused(3)],
                ),
                settle(
                    &[committed(1), refused(2), committed(3)],
                    &[cancelled(1), committed(2), refused(3)],
                )
                .reopened(),
                Step {
                    reopen: false,
                    request: OutboxRequest::Load { channel: name() },
                    expected: OutboxReply::Loaded {
                        channel: name(),
                        stored: StoredChannel {
                            last_n: 3,
                            low: low_in(4, 0),
                            committed: vec![CommittedRow {
                                n: 2,
                                deadline: UnixTime(100),
                                epoch: 5,
                            }],
                            failed: vec![cancelled(1), refused(3)],
                            ..StoredChannel::default()
                        },
                    },
                },
            ],
        },
        Case {
            name: "a refusal that holds for one sender alone is indeterminate if there were several",
            steps: vec![
                append(&[row(1), row(2)], &[1, 2]),
                attempt(1, 2, low(1), &[sent(1, 1), sent(2, 1)]),
                attempt(2, 2, low(1), &[sent(2, 2)]),
                settle(
                    &[alone(refused(1)), alone(refused(2))],
                    &[
                        alone(refused(1)),
                        Settlement {
                            status: MutationStatus::Indeterminate,
                            ..alone(refused(2))
                        },
                    ],
                ),
            ],
        },
        Case {
            name: "what one sender cannot tell has ended as another one saw it",
            steps: vec![
                append(&[row(1), row(2), row(3)], &[1, 2, 3]),
                attempt(1, 3, low(1), &[sent(1, 1), sent(2, 1), sent(3, 1)]),
                settle(&[committed(1), refused(2)], &[committed(1), refused(2)]),
                settle(
                    &[1, 2, 3].map(Settlement::unknown),
                    &[
                        Settlement {
                            status: MutationStatus::Committed,
                            ..Settlement::unknown(1)
                        },
                        Settlement {
                            status: refused(2).status,
                            ..Settlement::unknown(2)
                        },
                        Settlement::unknown(3),
                    ],
                ),
            ],
        },
        Case {
            name: "who asks for rows that are gone hears how they ended",
            steps: vec![
                append(&[row(1), row(2)], &[1, 2]),
                attempt(1, 2, low(1), &[sent(1, 1), sent(2, 1)]),
                settle(&[refused(1), committed(2)], &[refused(1), committed(2)]),
                Step {
                    expected: OutboxReply::Attempted {
                        channel: name(),
                        from: 1,
                        through: 2,
                        low: low(3),
                        rows: vec![],
                        ended: vec![refused(1)],
                        committed: vec![2],
                        has_unjudged: false,
                    },
                    ..attempt(1, 2, low(3), &[])
                },
            ],
        },
        Case {
            name: "what was committed in a lower epoch and is not in the base is lost",
            steps: vec![
                append(&[row(1), row(2), row(3)], &[1, 2, 3]),
                attempt(1, 3, low(1), &[sent(1, 1), sent(2, 1), sent(3, 1)]),
                settle(&[committed(1), committed(2)], &[committed(1), committed(2)]),
                keep_epoch(6, b"six"),
                // Row 3 is there, but row 1 is to be judged.
                attempt(3, 3, low_in(1, 6), &[sent(3, 2)]).unjudged(),
                judge(6, 1, &[lost(2)]),
                attempt(3, 3, low_in(3, 6), &[sent(3, 3)]),
                // Who asks later hears the same, and a row that comes late is judged as well.
                judge(6, 3, &[lost(2)]),
                settle(&[committed(3)], &[committed(3)]).unjudged(),
                attempt(4, 4, low_in(3, 6), &[]).unjudged(),
                judge(6, 2, &[lost(2), lost(3)]).reopened(),
                settle(&[committed(2)], &[lost(2)]),
            ],
        },
        Case {
            name: "without a row at the server what is old is unsure",
            steps: vec![
                append(&[row(1)], &[1]),
                attempt(1, 1, low(1), &[sent(1, 1)]),
                settle(&[committed(1)], &[committed(1)]),
                judge(6, 0, &[Settlement::of(1, MutationStatus::Indeterminate)]),
            ],
        },
        Case {
            name: "what was decided in a lower epoch than it was sent in is unsure",
            steps: vec![
                append(&[row(1), row(2)], &[1, 2]),
                Step {
                    request: OutboxRequest::Attempt {
                        channel: name(),
                        from: 1,
                        through: 1,
                        epoch: 6,
                        latest: UnixTime(100),
                        deadlines: Vec::new(),
                    },
                    ..attempt(
                        1,
                        1,
                        low_in(1, 6),
                        &[OutboxRow {
                            epoch: 6,
                            ..sent(1, 1)
                        }],
                    )
                },
                attempt(2, 2, low(1), &[sent(2, 1)]),
                settle(
                    &[committed(1), committed(2)],
                    &[
                        Settlement::of(1, MutationStatus::Indeterminate),
                        committed(2),
                    ],
                ),
            ],
        },
        Case {
            name: "the highest epoch stays, with its newest proof",
            steps: vec![
                keep_epoch(7, b"signed by an older key"),
                keep_epoch(7, b"seven"),
                keep_epoch(5, b"five").kept(7, b"seven"),
                give_up_epoch(6, 5).kept(7, b"seven"),
                Step {
                    reopen: true,
                    request: OutboxRequest::Load { channel: name() },
                    expected: OutboxReply::Loaded {
                        channel: name(),
                        stored: StoredChannel {
                            low: low_in(1, 7),
                            max_epoch: 7,
                            proof: Bytes::from_static(b"seven"),
                            ..StoredChannel::default()
                        },
                    },
                },
            ],
        },
        Case {
            name: "what was committed in a log that was given up was seen in no epoch",
            steps: vec![
                append(&[row(1), row(2)], &[1, 2]),
                attempt(1, 2, low(1), &[sent(1, 1), sent(2, 1)]),
                settle(&[committed(1)], &[committed(1)]),
                give_up_epoch(5, 0).kept(0, b""),
                settle(&[committed(2)], &[committed(2)]).unjudged(),
                Step {
                    reopen: true,
                    request: OutboxRequest::Load { channel: name() },
                    expected: OutboxReply::Loaded {
                        channel: name(),
                        stored: StoredChannel {
                            last_n: 2,
                            low: low_in(3, 0),
                            committed: [1, 2]
                                .map(|n| CommittedRow {
                                    n,
                                    deadline: UnixTime(100),
                                    epoch: 0,
                                })
                                .to_vec(),
                            ..StoredChannel::default()
                        },
                    },
                },
            ],
        },
        Case {
            name: "an outcome keeps the epoch that it was seen in, with its proof",
            steps: vec![
                append(&[row(1)], &[1]),
                attempt(1, 1, low(1), &[sent(1, 1)]),
                Step {
                    request: OutboxRequest::Settle {
                        channel: name(),
                        epoch: 5,
                        proof: Bytes::from_static(b"five"),
                        rows: vec![committed(1)],
                    },
                    ..settle(&[], &[committed(1)])
                },
                Step {
                    reopen: true,
                    request: OutboxRequest::Load { channel: name() },
                    expected: OutboxReply::Loaded {
                        channel: name(),
                        stored: StoredChannel {
                            last_n: 1,
                            low: low(2),
                            max_epoch: 5,
                            proof: Bytes::from_static(b"five"),
                            committed: vec![CommittedRow {
                                n: 1,
                                deadline: UnixTime(100),
                                epoch: 5,
                            }],
                            ..StoredChannel::default()
                        },
                    },
                },
            ],
        },
        Case {
            name: "an epoch that no server knows any more makes room for a lower one",
            steps: vec![
                keep_epoch(7, b"seven"),
                give_up_epoch(7, 0),
                keep_epoch(5, b"five"),
                Step {
                    reopen: true,
                    request: OutboxRequest::Load { channel: name() },
                    expected: OutboxReply::Loaded {
                        channel: name(),
                        stored: StoredChannel {
                            low: low_in(1, 5),
                            max_epoch: 5,
                            proof: Bytes::from_static(b"five"),
                            ..StoredChannel::default()
                        },
                    },
                },
            ],
        },
    ]
}

impl Step {
    fn unjudged(mut self) -> Self {
        if let OutboxReply::Attempted { has_unjudged, .. }
        | OutboxReply::Settled { has_unjudged, .. } = &mut self.expected
        {
            *has_unjudged = true;
        }
        self
    }

    fn kept(self, epoch: u64, proof: &'static [u8]) -> Self {
        Self {
            expected: OutboxReply::Kept {
                channel: name(),
                epoch,
                proof: Bytes::from_static(proof),
            },
            ..self
        }
    }

    fn reopened(self) -> Self {
        Self {
            reopen: true,
            ..self
        }
    }
}

fn step(request: OutboxRequest, expected: OutboxReply) -> Step {
    Step {
        reopen: false,
        request,
        expected,
    }
}

fn name() -> ChannelName {
    CHANNEL.parse().expect("a constant that is a name")
}

fn item() -> Bytes {
    Bytes::from_static(b"content that nobody reads")
}

const fn low(first: u64) -> Low {
    low_in(first, 5)
}

const fn low_in(first: u64, epoch: u64) -> Low {
    Low {
        first,
        after: None,
        epoch,
    }
}

fn row(handle: u64) -> NewRow {
    NewRow {
        handle: MutationHandle(handle),
        item: item(),
        deadline: None,
        after: After::Nothing,
        ended: None,
    }
}

const fn until(mut row: NewRow, ms: u64) -> NewRow {
    row.deadline = Some(UnixTime(ms));
    row
}

const fn after(mut row: NewRow, after: After) -> NewRow {
    row.after = after;
    row
}

fn fresh(n: u64) -> OutboxRow {
    OutboxRow {
        n,
        item: item(),
        deadline: None,
        after: 0,
        sent_after: 0,
        attempts: 0,
        epoch: 0,
        ended: None,
    }
}

fn sent(n: u64, attempts: u32) -> OutboxRow {
    OutboxRow {
        attempts,
        epoch: 5,
        deadline: Some(UnixTime(100)),
        ..fresh(n)
    }
}

const fn due(mut row: OutboxRow, ms: u64) -> OutboxRow {
    row.deadline = Some(UnixTime(ms));
    row
}

const fn behind(mut row: OutboxRow, after: u64) -> OutboxRow {
    row.after = after;
    if row.attempts > 0 {
        row.sent_after = after;
    }
    row
}

const fn sent_behind(mut row: OutboxRow, after: u64) -> OutboxRow {
    row.sent_after = after;
    row
}

fn ended(row: OutboxRow) -> OutboxRow {
    OutboxRow {
        item: Bytes::new(),
        ended: Some(MutationStatus::Cancelled),
        ..row
    }
}

const fn committed(n: u64) -> Settlement {
    Settlement::of(n, MutationStatus::Committed)
}

const fn cancelled(n: u64) -> Settlement {
    Settlement::of(n, MutationStatus::Cancelled)
}

const fn expired(n: u64) -> Settlement {
    Settlement::of(n, MutationStatus::Expired)
}

fn refused(n: u64) -> Settlement {
    let status = MutationStatus::rejected(crate::wire::ErrorCode::Refused, "no".into());
    Settlement::of(n, status)
}

const fn alone(mut settlement: Settlement) -> Settlement {
    settlement.attempts_max = 1;
    settlement
}

fn append(rows: &[NewRow], numbers: &[u64]) -> Step {
    let handles = rows.iter().map(|row| row.handle);
    let numbers = handles.zip(numbers.iter().copied()).collect();
    step(
        OutboxRequest::Append {
            channel: name(),
            rows: rows.to_vec(),
        },
        OutboxReply::Appended {
            channel: name(),
            numbers,
        },
    )
}

fn load(rows: &[OutboxRow], low: Low) -> Step {
    step(
        OutboxRequest::Load { channel: name() },
        OutboxReply::Loaded {
            channel: name(),
            stored: StoredChannel {
                last_n: rows.last().map_or(low.first - 1, |row| row.n),
                rows: rows.to_vec(),
                low: Low { epoch: 0, ..low },
                ..StoredChannel::default()
            },
        },
    )
}

fn attempt(from: u64, through: u64, low: Low, rows: &[OutboxRow]) -> Step {
    attempt_by(from, through, 100, low, rows)
}

fn attempt_by(from: u64, through: u64, latest: u64, low: Low, rows: &[OutboxRow]) -> Step {
    step(
        OutboxRequest::Attempt {
            channel: name(),
            from,
            through,
            epoch: 5,
            latest: UnixTime(latest),
            deadlines: Vec::new(),
        },
        OutboxReply::Attempted {
            channel: name(),
            from,
            through,
            low,
            rows: rows.to_vec(),
            ended: Vec::new(),
            committed: Vec::new(),
            has_unjudged: false,
        },
    )
}

fn neutralise(rows: &[Settlement], done: &[Settlement], too_late: &[u64]) -> Step {
    step(
        OutboxRequest::Neutralise {
            channel: name(),
            rows: rows.to_vec(),
        },
        OutboxReply::Neutralised {
            channel: name(),
            done: done.to_vec(),
            too_late: too_late.to_vec(),
        },
    )
}

fn settle(rows: &[Settlement], expected: &[Settlement]) -> Step {
    step(
        OutboxRequest::Settle {
            channel: name(),
            epoch: 5,
            proof: Bytes::new(),
            rows: rows.to_vec(),
        },
        OutboxReply::Settled {
            channel: name(),
            rows: expected.to_vec(),
            has_unjudged: false,
        },
    )
}

/// By a base that holds own numbers up to `last`, where all deadlines are evicted.
fn judge(epoch: u64, last: u64, ended: &[Settlement]) -> Step {
    step(
        OutboxRequest::Judge {
            channel: name(),
            judgement: Judgement {
                epoch,
                last,
                evicted_before: UnixTime(101),
            },
            proof: Bytes::new(),
        },
        OutboxReply::Judged {
            channel: name(),
            ended: ended.to_vec(),
        },
    )
}

const fn lost(n: u64) -> Settlement {
    Settlement::of(n, MutationStatus::Lost)
}

fn keep_epoch(epoch: u64, proof: &'static [u8]) -> Step {
    step(
        OutboxRequest::KeepEpoch {
            channel: name(),
            epoch,
            proof: Bytes::from_static(proof),
            given_up: 0,
        },
        OutboxReply::Kept {
            channel: name(),
            epoch,
            proof: Bytes::from_static(proof),
        },
    )
}

fn give_up_epoch(given_up: u64, epoch: u64) -> Step {
    step(
        OutboxRequest::KeepEpoch {
            channel: name(),
            epoch,
            proof: Bytes::new(),
            given_up,
        },
        OutboxReply::Kept {
            channel: name(),
            epoch,
            proof: Bytes::new(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::cases;
    use crate::mutation::{ClientId, MemoryOutbox, OutboxRequest};

    #[test]
    fn the_store_in_memory_keeps_all_rules() {
        for case in cases() {
            let mut store = MemoryOutbox::new(ClientId([7; 16]));
            store.handle(OutboxRequest::Open { principal: None });
            for step in case.steps {
                let reply = store.handle(step.request.clone());
                step.check(&reply)
                    .unwrap_or_else(|wrong| panic!("{}: {wrong}", case.name));
            }
        }
    }
}
