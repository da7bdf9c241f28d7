//! What the broker was asked, and what its answer does.
//!
//! Invariant: every answer ends the request that is under way; one that does not fit it is a failure.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::planted;
use tidewire_core::wire::ErrorCode;

use super::Channel;
use super::claims::Cause;
use super::encode::PART_BYTES;
use super::fold::{Fold, Misfit, Results};
use super::loading::Loading;
use super::message::Message;
use super::push::WaitingPush;
use super::ring::RingMax;
use crate::log::{BrokerReply, Entry, EntryBody};

/// A snapshot that could not be stored is tried again after this long. The log goes on meanwhile.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(10);

/// What the broker was asked last.
pub(super) enum Request {
    /// Arrivals up to `asked` will have been read after.
    Load {
        asked: u64,
    },
    /// The rest of what `Load` began.
    LoadOn {
        asked: u64,
        loading: Box<Loading>,
    },
    Read {
        asked: u64,
    },
    Append {
        entries: Vec<Arc<Entry>>,
        turn: Vec<Decided>,
        /// So many of its pushes, the oldest, were told `hold`.
        held: usize,
        /// What the turn makes of the records; `None`: its ops say.
        results: Option<Results>,
        /// Why it opens an epoch, if it does.
        cause: Cause,
    },
    PutPart,
    PutSnapshot,
}

/// A push of the turn that is being appended, and what it is told once that is durable.
pub(super) struct Decided {
    pub(super) push: WaitingPush,
    pub(super) answer: Option<Message>,
    /// It was told `hold` because the broker takes too long.
    pub(super) held: bool,
}

impl Channel {
    pub(super) fn handle_reply(&mut self, reply: BrokerReply) {
        if let BrokerReply::Loaded { clock, .. } | BrokerReply::Entries { clock, .. } = &reply {
            self.broker_clock.note(*clock, self.asked_at, self.now.mono);
        }
        match (self.request.take(), reply) {
            (
                Some(Request::Load { asked }),
                BrokerReply::Loaded {
                    snapshot,
                    entries,
                    more,
                    run,
                    ..
                },
            ) => {
                let ring_max = RingMax {
                    entries: self.config.history + self.config.snapshot_entries,
                    bytes: self.config.ring_bytes_max,
                    ops: self.config.ring_ops_max,
                };
                match snapshot.map(|stored| stored.read()).transpose() {
                    Ok(snapshot) => {
                        let loading = Loading::new(
                            snapshot,
                            run,
                            self.lifetime(),
                            self.config.table_bytes_max,
                            ring_max,
                        );
                        self.load(loading, entries, more, asked);
                    }
                    Err(error) => {
                        self.trouble = Some(format!("the snapshot cannot be read: {error}"));
                        self.reload = true;
                        self.handle_failure();
                    }
                }
            }
            (
                Some(Request::LoadOn { asked, loading }),
                BrokerReply::Entries {
                    entries, more, run, ..
                },
            ) => {
                if run == loading.run() {
                    self.load(*loading, entries, more, asked);
                } else {
                    self.handle_misfit();
                }
            }
            (
                Some(Request::Read { asked }),
                BrokerReply::Entries {
                    entries, more, run, ..
                },
            ) => {
                let same_run = run == self.run || planted!(RunIdNotCompared);
                self.note_written(&entries);
                if same_run && self.apply(entries, PART_BYTES, Fold::apply_all).is_ok() {
                    self.caught_up(asked, more);
                } else {
                    // Another life of the broker, or another line: what was folded may be gone.
                    self.handle_misfit();
                }
            }
            (Some(Request::Read { .. } | Request::LoadOn { .. }), BrokerReply::Trimmed) => {
                self.handle_misfit();
            }
            (
                Some(Request::Append {
                    entries,
                    turn,
                    results,
                    cause,
                    ..
                }),
                BrokerReply::Appended,
            ) => {
                self.retry.succeed();
                self.claims.on_opened(cause, self.now.mono);
                if matches!(entries[..], [ref only] if only.body == EntryBody::Deletion) {
                    self.delete = false;
                }
                // A turn is one patch, however large: `turn` bounds it.
                let own = |fold: &mut Fold, entries| fold.apply_own(entries, results);
                if self.apply(entries, usize::MAX, own).is_err() {
                    self.reload = true;
                }
                for decided in turn {
                    if let Some(answer) = decided.answer {
                        self.answer(&decided.push.subscriber, answer);
                    }
                }
            }
            (Some(Request::Append { turn, .. }), BrokerReply::Conflict)
                if planted!(ConflictTakenForSuccess) =>
            {
                for decided in turn {
                    if let Some(answer) = decided.answer {
                        self.answer(&decided.push.subscriber, answer);
                    }
                }
                self.behind = true;
            }
            (Some(Request::Append { turn, .. }), BrokerReply::Conflict) => {
                self.discard(turn);
                self.behind = true;
                self.handle_conflict();
            }
            (
                Some(Request::Append {
                    entries,
                    turn,
                    cause,
                    ..
                }),
                BrokerReply::ReadBack,
            ) => {
                self.read_back(entries, turn, cause);
            }
            (Some(Request::PutPart), BrokerReply::PartStored) => {}
            (Some(Request::PutSnapshot), BrokerReply::SnapshotStored) => {
                if let Some((saving, fold)) = self.saving.take().zip(self.fold.as_mut()) {
                    fold.unsaved.subtract(saving.saved);
                }
            }
            (Some(Request::PutPart | Request::PutSnapshot), _) => {
                self.saving = None;
                self.snapshot_not_before = Some(self.now.mono + SNAPSHOT_RETRY);
            }
            (Some(Request::Append { turn, .. }), _) => {
                self.discard_undecided(turn);
                self.behind = true;
                self.handle_failure();
            }
            (Some(Request::Load { .. } | Request::LoadOn { .. } | Request::Read { .. }), _) => {
                // The watch does not wake twice for the same entries.
                self.behind = !planted!(FailedReadForgotten);
                self.handle_failure();
            }
            // Nothing was asked.
            (None, _) => {}
        }
    }

    /// Whether the entries count is known once they were read: whoever waits for them is answered then, as they are
    /// found in the log, or evaluated again.
    fn read_back(&mut self, entries: Vec<Arc<Entry>>, turn: Vec<Decided>, cause: Cause) {
        if planted!(WrittenTakenForAppended) {
            for decided in turn {
                if let Some(answer) = decided.answer {
                    self.answer(&decided.push.subscriber, answer);
                }
            }
        } else {
            self.discard_undecided(turn);
        }
        self.written = entries.last().map(|last| (last.cursor, cause));
        self.behind = true;
        // Until they are read nobody knows better.
        self.handle_conflict();
    }

    /// What was written is there: that was no conflict. It may take several reads until they come to its place.
    fn note_written(&mut self, read: &[Arc<Entry>]) {
        let Some(last) = read.last().map(|entry| entry.cursor.seq) else {
            return;
        };
        if let Some((at, cause)) = self.written.take_if(|(at, _)| at.seq <= last)
            && read.iter().any(|entry| entry.cursor == at)
        {
            self.retry.succeed();
            self.claims.on_opened(cause, self.now.mono);
        }
    }

    /// The fold does not lead on to what the broker has: everything is loaded again.
    fn handle_misfit(&mut self) {
        self.reload = true;
        self.handle_conflict();
    }

    fn handle_conflict(&mut self) {
        self.retry.conflict(self.now.mono, &mut self.rng);
        self.hold_exhausted();
    }

    fn handle_failure(&mut self) {
        self.retry.fail(self.now.mono, &mut self.rng);
        self.hold_exhausted();
    }

    /// Takes a part of the log; with the last one the fold is there.
    fn load(&mut self, mut loading: Loading, entries: Vec<Arc<Entry>>, more: bool, asked: u64) {
        if let Err(misfit) = loading.take(entries) {
            if let Misfit::WrongKind(_) = misfit {
                self.refuse_everybody(ErrorCode::WrongKind, misfit.to_string());
            }
            self.trouble = Some(format!("the log cannot be read: {misfit}"));
            self.handle_failure();
            return;
        }
        // No success yet: a broker that contradicts itself is loaded from ever more rarely.
        self.retry.resume();
        if more {
            self.loading = Some((loading, asked));
            return;
        }
        let loading_run = loading.run();
        let old_head = self.head();
        let fold = loading.finish();
        let is_same_life = loading_run == self.run && fold.head.epoch == old_head.epoch;
        if is_same_life && old_head.seq > 0 && fold.ring.contradicts(&old_head) {
            self.off_line = Some(fold.head.epoch);
        }
        self.run = loading_run;
        self.fresh = asked;
        self.reload = false;
        self.encoded = None;
        self.saving = None;
        self.fold = Some(fold);
        self.realign(old_head);
    }

    fn caught_up(&mut self, asked: u64, more: bool) {
        if more {
            self.behind = true;
            self.retry.resume();
            return;
        }
        self.fresh = asked;
        if self.pushes.is_empty() {
            self.retry.succeed();
        } else {
            // Not the attempts: a conflict may follow every read.
            self.retry.resume();
        }
    }
}
