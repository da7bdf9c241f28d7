//! Which faults a seed switches on, how often each strikes, and how often each was really delivered.
//!
//! Swarm testing: every seed leaves out a random half of the faults, so that none of them always
//! hides another. Source of the ranges: docs/testing.md, "Simulation".

use std::collections::BTreeMap;

use fastrand::Rng;

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $rate:expr;)*) => {
        /// One kind of fault. What is counted is what was delivered, not what was planned.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Fault {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            const fn rate(self) -> Rate {
                match self { $(Self::$variant => $rate,)* }
            }
        }
    };
}

/// How a kind of fault comes about.
#[derive(Clone, Copy, Debug)]
enum Rate {
    /// By itself, with a mean interval between these two, in ms of virtual time.
    Every(u64, u64),
    /// At an occasion, with a probability of up to this many percent.
    Percent(u32),
    /// As a consequence of another fault or of plain concurrency; only counted.
    Consequence,
}

faults! {
    /// A link dies; some of what was under way is lost, both ends hear of it.
    LinkCut = "link_cut", Rate::Every(2_000, 15_000);
    /// A link goes silent in both directions; nobody is told.
    HalfOpen = "half_open", Rate::Every(10_000, 60_000);
    /// A link goes silent in one direction.
    OneWay = "one_way", Rate::Every(10_000, 60_000);
    /// For a while a link is slow.
    DelaySpike = "delay_spike", Rate::Every(2_000, 15_000);
    /// For a while a client reads a few bytes per ms.
    SlowReader = "slow_reader", Rate::Every(5_000, 30_000);
    /// A link is refused.
    OpenRefused = "open_refused", Rate::Percent(30);
    /// An attempt to open a link is never answered.
    OpenHangs = "open_hangs", Rate::Percent(10);
    /// A message is lost on a living link.
    MessageDropped = "message_dropped", Rate::Percent(20);
    /// A message arrives twice.
    MessageCopied = "message_copied", Rate::Percent(40);
    /// A message is overtaken by later ones.
    MessageOvertaken = "message_overtaken", Rate::Percent(30);
    /// A push arrives once more much later, on the link that its sender has by then.
    PushReplayed = "push_replayed", Rate::Percent(30);
    /// A message of a dead link is lost.
    FrameLost = "frame_lost", Rate::Consequence;
    /// A message of a dead link arrives after the next link was asked for.
    LateFrame = "late_frame", Rate::Consequence;

    /// A client process dies and comes back, now and then with an empty store.
    ClientCrash = "client_crash", Rate::Every(10_000, 60_000);
    /// A client process is stopped for a while.
    ClientFrozen = "client_frozen", Rate::Every(8_000, 40_000);
    /// A page says that it is about to be frozen, and comes back later.
    PageFrozen = "page_frozen", Rate::Every(10_000, 60_000);
    /// A client's wall clock jumps.
    ClientClock = "client_clock", Rate::Every(8_000, 40_000);
    /// The platform hints at a network change, truthfully or not.
    NetworkHint = "network_hint", Rate::Every(5_000, 30_000);
    /// The application cannot hand out a token now.
    TokenFailed = "token_failed", Rate::Percent(20);
    /// The server does not take the token this time.
    TokenRefused = "token_refused", Rate::Percent(10);
    /// The application looks at a token for longer than anybody waits.
    AuthHangs = "auth_hangs", Rate::Percent(10);
    /// The application cannot look at a token now.
    AuthDown = "auth_down", Rate::Percent(15);
    /// The server closes a link whose token has expired.
    TokenExpired = "token_expired", Rate::Consequence;
    /// A token was about to expire, and a new one was sent in band.
    TokenRenewed = "token_renewed", Rate::Consequence;
    /// The outbox's store answers late.
    StoreSlow = "store_slow", Rate::Percent(20);
    /// The outbox's store cannot write a row.
    StoreFailed = "store_failed", Rate::Percent(5);
    /// A session does not hear what another one on its store has written.
    HintLost = "hint_lost", Rate::Percent(30);
    /// The machine of a store loses its power: sessions die, and what was not strict is gone.
    PowerCut = "power_cut", Rate::Every(20_000, 80_000);

    /// A node dies with all its links and starts again.
    NodeCrash = "node_crash", Rate::Every(15_000, 60_000);
    /// A node drains: goaway, then it closes and starts again.
    NodeDrain = "node_drain", Rate::Every(20_000, 60_000);
    /// A node sends one client away, goes on with it for a while, then ends its link.
    SentAway = "sent_away", Rate::Every(4_000, 30_000);
    /// A client went over to a next link while the one before still lived.
    Moved = "moved", Rate::Consequence;
    /// A node's wall clock jumps.
    NodeClock = "node_clock", Rate::Every(10_000, 60_000);
    /// A principal may not write to a channel for a while.
    WriteForbidden = "write_forbidden", Rate::Every(8_000, 40_000);
    /// A principal may not subscribe to a channel for a while.
    ReadForbidden = "read_forbidden", Rate::Every(8_000, 40_000);
    /// A channel's task dies with everything that waits in it, and is started again.
    TaskDied = "task_died", Rate::Every(8_000, 40_000);
    /// A channel's inbox had no room.
    InboxFull = "inbox_full", Rate::Consequence;
    /// The admin door deletes a channel.
    ChannelDeleted = "channel_deleted", Rate::Every(30_000, 120_000);
    /// A mutation came after its deadline.
    Expired = "expired", Rate::Consequence;
    /// A push came so late that nobody knows whether it was decided before.
    Outdated = "outdated", Rate::Consequence;
    /// A row of the table was evicted.
    Evicted = "evicted", Rate::Consequence;
    /// A client asked for what is missing in its stream.
    HoleFetched = "hole_fetched", Rate::Consequence;
    /// A reader was too slow for its bounded queue.
    Lagged = "lagged", Rate::Consequence;

    /// The broker fails and did nothing.
    BrokerFailedBefore = "broker_failed_before", Rate::Percent(10);
    /// The broker fails after it had appended.
    BrokerFailedAfter = "broker_failed_after", Rate::Percent(10);
    /// A node gives up waiting for the broker, which then does what was asked after all.
    BrokerLate = "broker_late", Rate::Percent(10);
    /// The broker answers late.
    BrokerSlow = "broker_slow", Rate::Percent(10);
    /// The broker's watch wakes a node late.
    WakeLate = "wake_late", Rate::Percent(30);
    /// The broker restarts and kept everything, under its old run id or a new one.
    BrokerCrashKept = "broker_crash_kept", Rate::Every(15_000, 60_000);
    /// The broker restarts without the newest entries.
    BrokerTailLost = "broker_tail_lost", Rate::Every(15_000, 80_000);
    /// The broker restarts empty, and every node's clock is set back.
    BrokerWiped = "broker_wiped", Rate::Every(25_000, 120_000);
    /// A reader claims an epoch that nobody announced, or a place that the log does not have.
    ClaimForged = "claim_forged", Rate::Every(4_000, 30_000);
    /// Somebody of another line of the log appends where only the place fits.
    StrayAppend = "stray_append", Rate::Every(10_000, 60_000);
    /// An append met a head that another node had moved.
    AppendConflict = "append_conflict", Rate::Consequence;
    /// A node said that a push was decided in an epoch which the log has left.
    StaleEpoch = "stale_epoch", Rate::Consequence;

    /// A request over HTTP is lost; its client hears so, or nothing.
    RequestLost = "request_lost", Rate::Percent(10);
    /// A request arrives a second time, perhaps much later.
    RequestCopied = "request_copied", Rate::Percent(20);
    /// A request takes long.
    RequestLate = "request_late", Rate::Percent(10);
    /// The answer to a request is lost; its client hears so, or nothing.
    AnswerLost = "answer_lost", Rate::Percent(10);
    /// What a request asks of a session's home comes late there.
    LetterLate = "letter_late", Rate::Percent(10);
    /// A network does not let a client's WebSockets through, or its streams.
    Walled = "walled", Rate::Every(10_000, 60_000);
    /// Somebody else answers in the server's place for a while.
    Portal = "portal", Rate::Every(15_000, 80_000);
    /// A request over HTTP was made.
    Fallback = "fallback", Rate::Consequence;
    /// A request came to another node than its session's home.
    Forwarded = "forwarded", Rate::Consequence;
    /// A request was refused for its token.
    RequestRefused = "request_refused", Rate::Consequence;
    /// A client went from one transport to a better one.
    Climbed = "climbed", Rate::Consequence;
}

/// The first kind that only worlds with HTTP know. Theirs are drawn apart: seeds that once failed keep their worlds.
const FIRST_OF_HTTP: Fault = Fault::RequestLost;

/// What a seed does, and what it has done.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Mean interval in ms, for kinds that strike by themselves.
    every: BTreeMap<Fault, u64>,
    /// Chance in 1/1000, for kinds that strike at an occasion.
    per_mille: BTreeMap<Fault, u32>,
    delivered: BTreeMap<Fault, u64>,
    frozen: bool,
}

impl Faults {
    /// Draws a seed's set.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        let mut faults = Self::none();
        faults.draw_some(rng, |fault| fault < FIRST_OF_HTTP);
        faults
    }

    /// Draws those of a world that knows HTTP.
    pub fn draw_http(&mut self, rng: &mut Rng) {
        self.draw_some(rng, |fault| fault >= FIRST_OF_HTTP);
    }

    fn draw_some(&mut self, rng: &mut Rng, wanted: impl Fn(Fault) -> bool) {
        for &fault in Fault::ALL {
            if !wanted(fault) || rng.bool() {
                continue;
            }
            match fault.rate() {
                Rate::Every(low, high) => {
                    self.every.insert(fault, rng.u64(low..=high));
                }
                Rate::Percent(most) => {
                    self.per_mille.insert(fault, rng.u32(1..=most * 10));
                }
                Rate::Consequence => {}
            }
        }
    }

    /// No fault at all, for scenarios that inject their own.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            every: BTreeMap::new(),
            per_mille: BTreeMap::new(),
            delivered: BTreeMap::new(),
            frozen: false,
        }
    }

    /// The kinds that strike by themselves.
    #[must_use]
    pub fn timed(&self) -> Vec<Fault> {
        self.every.keys().copied().collect()
    }

    /// A kind does not strike in this run.
    pub fn switch_off(&mut self, fault: Fault) {
        self.every.remove(&fault);
        self.per_mille.remove(&fault);
    }

    /// Whether a kind may strike in this run by itself.
    #[must_use]
    pub fn is_on(&self, fault: Fault) -> bool {
        self.every.contains_key(&fault) || self.per_mille.contains_key(&fault)
    }

    /// When a kind strikes next, in ms from now; `None` once faults have stopped.
    pub fn next_ms(&self, fault: Fault, rng: &mut Rng) -> Option<u64> {
        if self.frozen {
            return None;
        }
        self.every.get(&fault).map(|mean| rng.u64(1..=mean * 2))
    }

    /// Whether a kind strikes at this occasion; counted if so.
    pub fn strikes(&mut self, fault: Fault, rng: &mut Rng) -> bool {
        let Some(&per_mille) = self.per_mille.get(&fault) else {
            return false;
        };
        let hit = !self.frozen && rng.u32(0..1000) < per_mille;
        if hit {
            self.count(fault);
        }
        hit
    }

    /// Makes a kind strike at this share of its occasions, for scenarios.
    pub fn set_per_mille(&mut self, fault: Fault, per_mille: u32) {
        self.per_mille.insert(fault, per_mille);
    }

    /// Counts a delivered fault.
    pub fn count(&mut self, fault: Fault) {
        *self.delivered.entry(fault).or_default() += 1;
    }

    /// Counts faults that were counted elsewhere.
    pub fn count_many(&mut self, fault: Fault, times: u64) {
        if times > 0 {
            *self.delivered.entry(fault).or_default() += times;
        }
    }

    /// From now on nothing strikes.
    pub const fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Whether faults have stopped.
    #[must_use]
    pub const fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// How often each kind was delivered.
    #[must_use]
    pub const fn delivered(&self) -> &BTreeMap<Fault, u64> {
        &self.delivered
    }
}
