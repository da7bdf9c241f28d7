//! Wrong variants of real rules, to show that the simulation would find them.
//!
//! Invariant: without `--cfg tidewire_planted` nothing of this exists: `planted!` is
//! the constant `false`. With it, one build holds all variants and a program chooses one when it starts.
//! Never a Cargo feature: nobody can turn it on by depending on this crate.

/// Whether a wrong variant of a rule is chosen; `false` in every build that is not made to be wrong.
#[macro_export]
#[doc(hidden)]
macro_rules! planted {
    ($variant:ident) => {{
        #[cfg(tidewire_planted)]
        let is_planted = $crate::planted::is_chosen($crate::planted::Planted::$variant);
        #[cfg(not(tidewire_planted))]
        let is_planted = false;
        is_planted
    }};
}

#[cfg(tidewire_planted)]
mod variants {
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A text that only a build with planted bugs contains.
    pub const MARK: &str = "tidewire-planted-bugs";

    macro_rules! variants {
        ($($variant:ident: $rule:literal;)*) => {
            /// A wrong variant, named after what it does wrong.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[expect(missing_docs, reason = "`rule` says it of each")]
            pub enum Planted {
                $($variant,)*
            }

            impl Planted {
                /// All of them.
                pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

                /// Its name.
                #[must_use]
                pub const fn name(self) -> &'static str {
                    match self { $(Self::$variant => stringify!($variant),)* }
                }

                /// The rule that it breaks.
                #[must_use]
                pub const fn rule(self) -> &'static str {
                    match self { $(Self::$variant => $rule,)* }
                }
            }
        };
    }

    variants! {
        // The stream, in the client.
        ClaimNotSent: "`subscribe` carries the highest epoch seen, and the server opens a higher one";
        ProofNotReturned: "the store keeps the proof beside `max_epoch`, and `subscribe` returns it";
        PatchAppliedAhead: "a patch that starts beyond the base waits for what is missing";
        OldEpochKeptWaiting: "patches of older epochs that wait are dropped when a stream opens";
        ReadyBeforeHead: "there is no view before the channel was at the head";
        StaleUntold: "whatever a channel's state becomes is told";
        PendingMiscounted: "pending are those that have no stored outcome";
        SnapshotTakenForHead: "a snapshot may be older than the head that its answer names: live waits for that";
        SecondAnswerIgnored: "live waits for the head of each answer, whichever subscribe it answers";
        SnapshotNotVerified: "a snapshot counts only if number and digest of its records fit";
        HistoryLossUntold: "a snapshot that crosses an epoch tells `history_lost`";
        HoleBehindHeartbeatIgnored: "a heartbeat's head beyond the base means a hole";
        ResyncAskedOnce: "no progress for 10 s: subscribe again, however often";

        // Mutations, in the client.
        OverlayDroppedOnAck: "an overlay leaves only with its entry in the base or its rejection";
        TableRowOfSnapshotIgnored: "a swapped base settles the rows that its table row covers";
        RejectionsOfSnapshotIgnored: "`n ≤ last` and listed is rejected, not committed";
        KnownLowIgnored: "what a table row has forgotten is told as indeterminate, not as committed";
        RejectedStaysVisible: "an overlay leaves once its rejection is known";
        DependentsNotReplayed: "what is pending is replayed when a mutation below it leaves";
        ToldBeforeStored: "an outcome is told only once the store has it";
        LossNotJudged: "what was committed above `known.last` of a higher epoch is lost";
        LowPassesUnjudged: "`low` does not pass what is to be judged";
        EpochsOfOthersIgnored: "an epoch that another session has seen is told to the server";
        SentByOldReading: "what goes in a new epoch is read again before";
        MarksForgotten: "what was committed stays marked, so that its loss can be told";
        ExpiryToldAsRejection: "a rejection `expired` in the log ends as expired";
        SentBeforeMarked: "nothing is sent before the store has its mark and deadline";
        SentRowTakenBack: "only a row that was never sent is cancelled, superseded or expired here";
        CoalescingKeepsOldest: "of unsent rows with one key the latest is sent";
        DependentsOutliveTheirCause: "what comes after a mutation that failed before it was sent fails too";
        DependencyNotSent: "a push says what a mutation comes after";
        HoldWithoutEnd: "a held push goes out again after its pause";
        LowNotRaised: "`low` closes gaps";
        LoadedRowsForgotten: "rows of a former session are shown, sent and brought to their end";
        MarkNotStrict: "a mark survives a power cut before anything is sent";
        LowFromMemory: "`low` is what the store says of its lowest row";
        ItemFromMemory: "what is pushed is what the marking transaction has read";
        WindowIgnored: "pushes stay inside the window";
        PushNotRepeated: "a push without an answer for 10 s: subscribe again";

        // Connection and presence, in the client.
        ConnectedTooEarly: "connected is a link that was welcomed";
        OldLinkHeard: "frames of an older link are dropped";
        SilenceTolerated: "a link without a frame for too long is dead";
        BackoffWithoutPause: "attempts to connect keep a growing distance";
        NextFailureEndsSession: "what happens to the next link never ends the session";
        RefusedDialClosesCurrent: "after `goaway` the link goes on until the next one has taken over";
        AllChannelsMustAnswer: "a move ends after 10 s, whether or not all channels have their answer";
        AnswerOfOtherEpochCounts: "a resume on the next link counts only if its log is the base's";
        BaseGoesBack: "a snapshot on the next link never moves the base back";
        StreamUnanswered: "every second heartbeat of a stream is answered by a POST";
        PostsOverlap: "one POST is under way at a time";
        FailedPostForgotten: "what a failed POST said goes again";
        EmptyPollsSpin: "after a poll that said nothing there is a pause";
        LostPollForgiven: "anything but a whole 200 to a poll ends the session on the client";
        BusyTakenForBlocked: "a server that cannot just now says nothing of the transport";
        FallbackForEver: "from a fallback a better transport is tried again";
        ThirdLinkOpened: "at most two links live";
        PresenceNotRepeated: "presence is said again to every new stream";

        // Documents, on both sides.
        PutSquashedAsMerge: "a put in a squashed range replaces the record";

        // The log and its epochs, in the server.
        HeadNotRead: "the broker's head is read after the subscribe came";
        SnapshotOfOlderEpoch: "a snapshot is of the epoch of its head";
        LateAppendForgotten: "an append that failed may be in the log later: until then nobody is told `forbidden`";
        WrittenTakenForAppended: "what has to be read back counts only once it was read";
        UnprovenBelieved: "a claim without a proof is paced";
        HaveOpensAtOnce: "a place that shows a loss is paced as an unproven claim is";
        HourKeptByNode: "the hour between unproven openings counts by the log, whoever opened";
        KeyForgotten: "a proof is good for every node that has the key";
        WaitingClaimForgotten: "whatever opens next opens above the claims that wait";
        SilentNodeBelieved: "peers of a node that says nothing any more are gone after 25 s";
        RunIdNotCompared: "what was read under another run id may be another log";
        AppendComparesSeqOnly: "an append compares epoch, seq and tag with the head";
        EpochReused: "an epoch number is never used twice, also for logs that vanished";
        EpochIgnoresClaim: "a new epoch is above what stores claim";
        LogTimeFalls: "log time never falls";
        SnapshotGoesBack: "a stored snapshot is replaced only by a newer one";
        SnapshotOffTheLine: "a snapshot is stored only on the present line";
        PartCountsAtOnce: "parts are no snapshot before the step that names them";
        PartsNotCounted: "a snapshot is put only if all of its parts are there";
        ConflictTakenForSuccess: "a turn that met a conflict is evaluated again";
        FailedReadForgotten: "a read that failed is asked again";
        OpeningRepeatsInitial: "only a new or deleted channel starts from the initial records";
        DeletionKeepsRecords: "a deletion leaves nothing";

        // Sessions over HTTP, in the server.
        LatePostCounts: "of a POST that comes behind a newer one nothing is handed to the session";
        PollNumbersIgnored: "each poll has its number, and each number is answered once";

        // Connections, in the server.
        OthersNeverNamed: "heartbeats name every head in turn";
        PushToEndedDropped: "a push that an ended channel gives back starts the next one";
        ReplacementUntold: "a subscription whose channel's task ended is told `lagged`";
        ExpiryNotEnforced: "a token that has expired ends its connection";
        GrantsNotRechecked: "a refresh ends what the new token no longer grants";
        PushNeedsNoGrant: "a push of who may neither read nor write starts nothing";

        // Mutations, in the server.
        TableNotBounded: "a table lists no more rejections than it has room for";
        PassedNotMarked: "what `low` has passed was perhaps rejected: what comes after it is not applied";
        ForgottenNotMarked: "numbers whose rejections were forgotten are marked";
        RightReadEarly: "the right to write is that of the moment when a push is evaluated";
        DuplicateDecidedAgain: "`n ≤ last` is a duplicate";
        GapAccepted: "`n` must be the next one, or `low`";
        PushEpochNotCompared: "a push of another epoch is not appended";
        RejectionNotCounted: "a rejection advances `last`";
        RejectionsForgottenEarly: "rejections are listed until `low` passes them";
        RejectionsUnbounded: "at 64 listed rejections nothing more is evaluated";
        AckedBeforeDurable: "an ack means logged";
        MidsOfRejectionsDropped: "a patch names the rejected mutations of its range";
        DeadlineNotJudged: "what comes after its deadline is rejected `expired`";
        SkippedTakenForCommitted: "of numbers that its author has given up a server says no more than that";
        DependencyNotJudged: "what comes after a rejected mutation is rejected `dep_failed`";
        PreconditionsNotJudged: "a mutation applies only if all its preconditions hold";
        SinceTakenFromAnyLine: "`unchanged` since a place off the line does not hold";
        OutdatedAppended: "a push past deadline and retention is never appended";
        EvictedAtDeadline: "a table row lives until its latest deadline and the retention are over";
        WrongClockTrusted: "a node whose clock is off evaluates nothing";
        OwnPresenceListed: "nobody is in the list that it is told";
        ReadyWhileDraining: "who is about to end is not ready";
        BrokerSilenceUntold: "without a broker that answers a node is not ready";
        DepartureUntold: "who leaves is gone from everybody's list";
    }

    /// 0: none.
    static CHOSEN: AtomicUsize = AtomicUsize::new(0);

    /// From now on this process is wrong in one way, or right.
    pub fn choose(variant: Option<Planted>) {
        let number = variant.map_or(0, |variant| variant as usize + 1);
        CHOSEN.store(number, Ordering::Relaxed);
    }

    /// Whether a variant is chosen.
    #[must_use]
    pub fn is_chosen(variant: Planted) -> bool {
        CHOSEN.load(Ordering::Relaxed) == variant as usize + 1
    }
}

#[cfg(tidewire_planted)]
pub use variants::{MARK, Planted, choose, is_chosen};
