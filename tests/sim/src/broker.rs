//! The broker that all nodes share: the server's own `Log` per channel, and ways to break it.
//!
//! Every append is shown to [`Truth`] first, which says whether it must be taken; the `Log` has to agree.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tidewire_core::time::UnixTime;
use tidewire_core::wire::Cursor;
use tidewire_server::broker::{BrokerReply, BrokerRequest, Entry, EntryBody, Log, RunId};

use crate::node::UNIX_START_MS;
use crate::truth::Truth;
use crate::violation::{Checked, Violation, ensure};

/// Entries in one reply: few, so that logs come in parts.
const PART_ENTRIES_MAX: usize = 40;

/// How many earlier states of a log are remembered, for failovers that lose a tail.
const EARLIER_MAX: usize = 8;

/// All logs and the broker's present life.
#[derive(Debug)]
pub struct Broker {
    /// Whether it answers.
    pub is_up: bool,
    /// Whether earlier states are kept, so that a tail can be lost.
    pub remembers: bool,
    /// How far its wall clock is off.
    pub clock_ms: i64,
    /// Whether it writes first and compares when it reads: nobody hears what became of an append.
    pub is_read_back: bool,
    run: RunId,
    shelves: BTreeMap<usize, Shelf>,
}

#[derive(Debug)]
struct Shelf {
    log: Log,
    /// Older states, oldest first, each with its head's seq.
    earlier: VecDeque<(u64, Log)>,
}

impl Default for Broker {
    fn default() -> Self {
        Self::new()
    }
}

impl Broker {
    /// An empty broker that is up.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            is_up: true,
            remembers: true,
            clock_ms: 0,
            is_read_back: false,
            run: RunId(1),
            shelves: BTreeMap::new(),
        }
    }

    /// Does what a node asks. `appended` tells whether entries were added.
    pub fn handle(
        &mut self,
        now_ms: u64,
        channel: usize,
        request: BrokerRequest,
        truth: &mut Truth,
    ) -> Checked<(BrokerReply, bool)> {
        if !self.is_up {
            return Ok((failed(), false));
        }
        truth.now_ms = now_ms;
        let clock = UnixTime((UNIX_START_MS + now_ms).saturating_add_signed(self.clock_ms));
        let run = self.run;
        let shelf = self.shelves.entry(channel).or_insert_with(|| {
            let mut log = Log::new(run);
            log.set_part_entries_max(PART_ENTRIES_MAX);
            Shelf {
                log,
                earlier: VecDeque::new(),
            }
        });
        let mut appended = false;
        match &request {
            BrokerRequest::Append { expected, entries } => {
                let admitted = truth.admits(channel, *expected, entries, run);
                if admitted {
                    truth.append(channel, entries, run)?;
                    appended = true;
                    if self.remembers {
                        let state = (shelf.log.head().seq, shelf.log.clone());
                        shelf.earlier.push_back(state);
                    }
                    if shelf.earlier.len() > EARLIER_MAX {
                        shelf.earlier.pop_front();
                    }
                }
                let reply = shelf.log.handle(request.clone(), clock);
                ensure(
                    matches!(reply, BrokerReply::Appended) == admitted,
                    "log",
                    || {
                        format!(
                            "compare-and-append: must be taken {admitted}, the log said {reply:?}"
                        )
                    },
                )?;
                ensure(
                    shelf.log.head() == truth.head_cursor(channel),
                    "log",
                    || "the log's head is not what was appended last".into(),
                )?;
                let reply = match self.is_read_back {
                    true => BrokerReply::ReadBack,
                    false => reply,
                };
                return Ok((reply, appended));
            }
            BrokerRequest::PutPart { bytes, .. } => {
                ensure(bytes.len() <= 512 * 1024, "S14", || {
                    format!("a part of {} bytes", bytes.len())
                })?;
                let before = shelf.log.snapshot().cloned();
                let reply = shelf.log.handle(request, clock);
                ensure(before.as_ref() == shelf.log.snapshot(), "log", || {
                    "a part without its commit counts as a snapshot".into()
                })?;
                return Ok((reply, false));
            }
            BrokerRequest::PutSnapshot { .. } => {
                let before_cursor = shelf.log.snapshot().map(|old| old.name.cursor);
                let before = before_cursor.map_or(0, |old| old.seq);
                let reply = shelf.log.handle(request, clock);
                let after = shelf.log.snapshot().map(|new| new.name.cursor);
                if let Some(new) = shelf.log.snapshot().filter(|_| after != before_cursor) {
                    let snapshot = new.read();
                    let snapshot = snapshot.map_err(|error| {
                        Violation::new("log", format!("a stored snapshot: {error}"))
                    })?;
                    truth.check_snapshot(channel, &snapshot)?;
                }
                let is_right = after.is_none_or(|after| {
                    let fact = truth.at(channel, after);
                    let on_line = fact.zip(truth.head(channel));
                    after.seq >= before
                        && on_line.is_some_and(|(at, end)| truth.is_on_line(at, end))
                });
                ensure(is_right, "log", || {
                    format!("the stored snapshot went from {before} to {after:?}, or off the line")
                })?;
                return Ok((reply, false));
            }
            BrokerRequest::Load | BrokerRequest::Read { .. } => {}
        }
        Ok((shelf.log.handle(request, clock), appended))
    }

    /// Somebody who folded another log, of the same length, appends to this one: only epoch or tag tell.
    /// Returns whether there was a log to append to.
    pub fn append_astray(
        &mut self,
        now_ms: u64,
        channel: usize,
        truth: &mut Truth,
    ) -> Checked<bool> {
        let mut expected = truth.head_cursor(channel);
        if expected.seq == 0 || !self.is_up {
            return Ok(false);
        }
        if now_ms.is_multiple_of(2) {
            expected.tag ^= 1;
        } else {
            expected.epoch -= 1;
        }
        let entry = Entry {
            cursor: Cursor::new(expected.epoch, expected.seq + 1, expected.tag),
            previous_tag: expected.tag,
            ms: 0,
            run: self.run,
            body: EntryBody::Deletion,
        };
        let entries = vec![Arc::new(entry)];
        self.handle(
            now_ms,
            channel,
            BrokerRequest::Append { expected, entries },
            truth,
        )?;
        Ok(true)
    }

    /// The next life begins with everything kept; under a new run id unless it was a clean restart.
    pub fn restart_kept(&mut self, clean: bool) {
        if !clean {
            self.next_run();
        }
        self.is_up = true;
    }

    /// The next life begins with the state before the last few appends of every log.
    /// Returns whether anything was lost.
    pub fn restart_without_tail(&mut self, appends: usize, truth: &mut Truth) -> bool {
        let lost = self.put_backup_back(appends, truth);
        self.next_run();
        self.is_up = true;
        lost
    }

    /// Every log is as it was before the last few appends, and says that it is what it always was.
    /// Returns whether anything was lost.
    pub fn put_backup_back(&mut self, appends: usize, truth: &mut Truth) -> bool {
        let mut lost = false;
        for (&channel, shelf) in &mut self.shelves {
            let keep = shelf.earlier.len().saturating_sub(appends);
            shelf.earlier.truncate(keep + 1);
            if let Some((seq, log)) = shelf.earlier.pop_back() {
                lost |= seq < shelf.log.head().seq;
                shelf.log = log;
                truth.lose_after(channel, seq);
            }
        }
        lost
    }

    /// The next life begins with nothing. Returns whether anything was lost.
    pub fn restart_wiped(&mut self, truth: &mut Truth) -> bool {
        let mut lost = false;
        for (&channel, shelf) in &self.shelves {
            lost |= shelf.log.head().seq > 0;
            truth.lose_after(channel, 0);
        }
        self.shelves.clear();
        self.next_run();
        self.is_up = true;
        lost
    }

    fn next_run(&mut self) {
        self.run = RunId(self.run.0 + 1);
        for shelf in self.shelves.values_mut() {
            shelf.log.set_run(self.run);
        }
    }
}

/// What a node hears when the broker cannot answer.
#[must_use]
pub fn failed() -> BrokerReply {
    BrokerReply::Failed {
        detail: "injected".into(),
    }
}
