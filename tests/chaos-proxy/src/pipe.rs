//! One direction of one connection: what comes in goes out under the conditions of the moment.
//!
//! Invariant: once [`HELD_BYTES_MAX`] is held nothing more is read, so that the sender feels it as with a real slow
//! network. One read may go beyond.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::conditions::{Conditions, Ending};
use crate::pace::Pace;

/// How much of a direction is held while it is late: at 10 ms of latency that is 25 MB a second.
pub(crate) const HELD_BYTES_MAX: usize = 256 * 1024;
/// How much is read at a time.
const READ_BYTES: usize = 16 * 1024;
/// What holding a piece costs besides its bytes: single bytes must not take more memory than they count.
const PIECE_COST: usize = size_of::<Held>();

/// How a direction was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The end was passed on, and the other direction may go on.
    Ended,
    /// The whole connection ends so.
    All(Ending),
    /// A side is gone without a goodbye.
    Broken,
}

/// What came in and is not out yet.
struct Held {
    came: Instant,
    /// Its share of the jitter, from 0 to 1.
    jitter: f64,
    bytes: Vec<u8>,
    /// How much of it is out.
    gone: usize,
}

/// What the pipes of a direction are told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) conditions: Conditions,
    /// Raised to end the direction of every connection that is open.
    pub(crate) half_closes: u64,
}

/// The conditions of one connection, which has drawn whether they concern it.
pub(crate) struct Weather {
    told: watch::Receiver<Told>,
    draw: f64,
    now: Conditions,
    half_closes_before: u64,
    is_half_closed: bool,
}

impl Weather {
    pub(crate) fn new(told: watch::Receiver<Told>, draw: f64) -> Self {
        let half_closes_before = told.borrow().half_closes;
        let mut weather = Self {
            told,
            draw,
            now: Conditions::default(),
            half_closes_before,
            is_half_closed: false,
        };
        weather.look();
        weather
    }

    fn look(&mut self) {
        let told = self.told.borrow_and_update();
        self.is_half_closed = told.half_closes != self.half_closes_before;
        self.now = match self.draw < told.conditions.toxicity {
            true => told.conditions.clone(),
            false => Conditions::default(),
        };
    }

    /// Waits until others are told.
    async fn changed(&mut self) {
        if self.told.changed().await.is_err() {
            // The proxy is gone; its connections end with it.
            std::future::pending::<()>().await;
        }
        self.look();
    }
}

/// Carries until it is over. `carried` counts what went out.
pub(crate) async fn carry<R, W>(
    mut from: R,
    mut to: W,
    mut weather: Weather,
    mut random: Rng,
    carried: &AtomicU64,
) -> Over
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut pace = Pace::new(random.fork());
    let mut held: VecDeque<Held> = VecDeque::new();
    let mut held_bytes = 0;
    let mut ended_at: Option<Instant> = None;
    let mut sent: u64 = 0;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let conditions = &weather.now;
        let is_at_limit = conditions.limit.filter(|limit| sent >= limit.bytes);
        let is_silent = match is_at_limit.map(|limit| limit.then) {
            _ if weather.is_half_closed => return end(to).await,
            _ if conditions.black_hole => true,
            Some(Ending::BlackHole) => true,
            Some(Ending::HalfClose) => return end(to).await,
            Some(ending) => return Over::All(ending),
            None => false,
        };
        let may_read = !is_silent && ended_at.is_none() && held_bytes < HELD_BYTES_MAX;
        let due = held.front().map(|it| {
            let due = it.came + conditions.latency + conditions.jitter.mul_f64(it.jitter);
            pace.free().map_or(due, |free| due.max(free))
        });
        let is_due = due.filter(|_| !is_silent);
        let may_end = ended_at
            .map(|at| at + conditions.latency + conditions.slow_close)
            .filter(|_| !is_silent && held.is_empty());
        let piece = held.front().map_or(0, |it| {
            let mut ready = it.bytes.len() - it.gone;
            if let Some(limit) = conditions.limit {
                let left = limit.bytes.saturating_sub(sent).max(1);
                ready = ready.min(usize::try_from(left).unwrap_or(ready));
            }
            pace.piece(ready, conditions)
        });
        tokio::select! {
            // What was told counts for all that had not moved by then.
            biased;
            () = weather.changed() => pace.changed(),
            read = from.read(&mut buffer), if may_read => match read {
                Ok(0) => ended_at = Some(Instant::now()),
                Ok(bytes) => {
                    held_bytes += bytes + PIECE_COST;
                    held.push_back(Held {
                        came: Instant::now(),
                        jitter: random.f64(),
                        bytes: buffer[..bytes].to_vec(),
                        gone: 0,
                    });
                }
                Err(_) => return Over::Broken,
            },
            wrote = write_at(&mut to, held.front(), piece, is_due), if is_due.is_some() => {
                let Ok(bytes) = wrote else { return Over::Broken };
                pace.went(bytes, Instant::now(), &weather.now);
                sent += bytes as u64;
                carried.fetch_add(bytes as u64, Ordering::Relaxed);
                if let Some(first) = held.front_mut() {
                    first.gone += bytes;
                }
                if let Some(first) = held.pop_front_if(|it| it.gone == it.bytes.len()) {
                    held_bytes -= first.bytes.len() + PIECE_COST;
                }
            },
            () = until(may_end), if may_end.is_some() => return end(to).await,
        }
    }
}

/// Passes the end on. What is held by then never comes.
async fn end(mut to: impl AsyncWrite + Unpin) -> Over {
    let _ = to.shutdown().await;
    Over::Ended
}

/// Writes a piece once it is due. Cancelled, it has written nothing.
async fn write_at<W: AsyncWrite + Unpin>(
    to: &mut W,
    first: Option<&Held>,
    piece: usize,
    due: Option<Instant>,
) -> io::Result<usize> {
    until(due).await;
    let Some(first) = first else { return Ok(0) };
    match to
        .write(&first.bytes[first.gone..first.gone + piece])
        .await?
    {
        0 => Err(io::ErrorKind::WriteZero.into()),
        bytes => Ok(bytes),
    }
}

async fn until(at: Option<Instant>) {
    if let Some(at) = at.filter(|at| *at > Instant::now()) {
        sleep_until(at).await;
    }
}

/// The random numbers of one direction of one connection.
pub(crate) fn random(seed: u64, connection: u64, direction: u64) -> Rng {
    // Neighbouring seeds and numbers must not give neighbouring streams.
    let mut random = Rng::with_seed(seed);
    let mixed = random.u64(..) ^ (connection * 2 + direction).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Rng::with_seed(mixed).fork()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    struct Stage {
        sender: DuplexStream,
        receiver: DuplexStream,
        told: watch::Sender<Told>,
        over: JoinHandle<Over>,
    }

    impl Stage {
        fn tell(&self, conditions: Conditions) {
            self.told.send_modify(|told| told.conditions = conditions);
        }
    }

    fn stage(conditions: Conditions) -> Stage {
        staged(conditions, 1, 0.0)
    }

    fn staged(conditions: Conditions, seed: u64, draw: f64) -> Stage {
        let (sender, from) = duplex(1 << 20);
        let (to, receiver) = duplex(1 << 20);
        let (told, hears) = watch::channel(Told {
            conditions,
            half_closes: 0,
        });
        let weather = Weather::new(hears, draw);
        let over = tokio::spawn(async move {
            carry(from, to, weather, random(seed, 1, 0), &AtomicU64::new(0)).await
        });
        Stage {
            sender,
            receiver,
            told,
            over,
        }
    }

    /// How long it takes until so many bytes are there; virtual time, so exact to the timer's millisecond.
    async fn arrival(receiver: &mut DuplexStream, bytes: usize) -> (u128, Vec<u8>) {
        let (begin, mut read) = (Instant::now(), vec![0; bytes]);
        receiver.read_exact(&mut read).await.unwrap();
        (begin.elapsed().as_millis(), read)
    }

    const MS: Duration = Duration::from_millis(1);
    /// Virtual time, so it costs nothing.
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn without_faults_everything_comes_at_once_and_the_end_too() {
        let mut it = stage(Conditions::default());
        it.sender.write_all(b"hello").await.unwrap();
        assert_eq!(arrival(&mut it.receiver, 5).await, (0, b"hello".to_vec()));
        it.sender.shutdown().await.unwrap();
        assert_eq!(it.receiver.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(it.over.await.unwrap(), Over::Ended);
    }

    #[tokio::test(start_paused = true)]
    async fn latency_holds_back_and_is_over_at_once_for_what_is_held() {
        let mut it = stage(Conditions::default().latency(100 * MS));
        it.sender.write_all(b"a").await.unwrap();
        let (ms, _) = arrival(&mut it.receiver, 1).await;
        assert!((100..=102).contains(&ms), "{ms}");
        it.tell(Conditions::default().latency(LONG));
        it.sender.write_all(b"b").await.unwrap();
        assert!(timeout(LONG / 2, it.receiver.read_u8()).await.is_err());
        it.tell(Conditions::default());
        assert_eq!(arrival(&mut it.receiver, 1).await.0, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_is_the_seeds_and_never_overtakes() {
        let mut traces = Vec::new();
        for seed in [1, 1, 2] {
            let jitter = Conditions::default().latency(10 * MS).jitter(50 * MS);
            let mut it = staged(jitter, seed, 0.0);
            let writing = tokio::spawn(async move {
                for byte in 0..40_u8 {
                    it.sender.write_all(&[byte]).await.unwrap();
                    tokio::time::sleep(5 * MS).await;
                }
            });
            let begin = Instant::now();
            let mut trace = Vec::new();
            for byte in 0..40_u8 {
                assert_eq!(it.receiver.read_u8().await.unwrap(), byte);
                trace.push(begin.elapsed().as_millis());
            }
            assert!(
                trace.windows(2).any(|two| two[1] - two[0] > 10),
                "{trace:?}"
            );
            writing.await.unwrap();
            traces.push(trace);
        }
        assert_eq!(traces[0], traces[1]);
        assert_ne!(traces[0], traces[2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_narrow_link_takes_its_time_and_the_sender_waits() {
        let mut it = stage(Conditions::default().bandwidth(100_000));
        it.sender.write_all(&[7; 50_000]).await.unwrap();
        let (ms, _) = arrival(&mut it.receiver, 50_000).await;
        assert!((470..=510).contains(&ms), "{ms}");
        // What nobody reads is not collected here.
        it.tell(Conditions::default().latency(LONG));
        let flood = async { while it.sender.write_all(&[0; 4096]).await.is_ok() {} };
        assert!(timeout(LONG / 2, flood).await.is_err());
        it.tell(Conditions::default());
        let mut all = 0;
        while let Ok(Ok(bytes)) = timeout(MS, it.receiver.read(&mut [0; 65_536])).await {
            all += bytes;
        }
        let most = HELD_BYTES_MAX + READ_BYTES + (2 << 20) + 4096;
        assert!((1 << 20..=most).contains(&all), "{all}");
    }

    #[tokio::test(start_paused = true)]
    async fn slices_come_one_by_one() {
        let mut it = stage(Conditions::default().slicer(2, 3, 10 * MS));
        it.sender.write_all(b"abcdefghij").await.unwrap();
        let (mut whole, mut pieces) = (Vec::<u8>::new(), 0);
        while whole.len() < 10 {
            let mut piece = [0; 16];
            let bytes = it.receiver.read(&mut piece).await.unwrap();
            assert!(bytes <= 3);
            whole.extend_from_slice(&piece[..bytes]);
            pieces += 1;
        }
        assert_eq!(whole, b"abcdefghij");
        assert!(pieces >= 4, "{pieces}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_black_hole_keeps_what_it_swallowed_and_the_end_too() {
        let mut it = stage(Conditions::default().black_hole());
        it.sender.write_all(b"late").await.unwrap();
        it.sender.shutdown().await.unwrap();
        assert!(timeout(LONG, it.receiver.read_u8()).await.is_err());
        assert!(!it.over.is_finished());
        it.tell(Conditions::default());
        assert_eq!(arrival(&mut it.receiver, 4).await, (0, b"late".to_vec()));
        assert_eq!(it.receiver.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_lets_exactly_so_many_bytes_through() {
        for (then, expected) in [
            (Ending::Close, Over::All(Ending::Close)),
            (Ending::Reset, Over::All(Ending::Reset)),
            (Ending::HalfClose, Over::Ended),
        ] {
            let mut it = stage(Conditions::default().limit(6, then));
            it.sender.write_all(b"0123456789").await.unwrap();
            let mut read = Vec::new();
            it.receiver.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, b"012345", "{then:?}");
            assert_eq!(it.over.await.unwrap(), expected);
        }
        let mut it = stage(Conditions::default().limit(6, Ending::BlackHole));
        it.sender.write_all(b"0123456789").await.unwrap();
        assert_eq!(arrival(&mut it.receiver, 6).await.1, b"012345");
        assert!(timeout(LONG, it.receiver.read_u8()).await.is_err());
        it.tell(Conditions::default());
        assert_eq!(arrival(&mut it.receiver, 4).await.1, b"6789");
        let it = stage(Conditions::default().limit(0, Ending::Reset));
        assert_eq!(it.over.await.unwrap(), Over::All(Ending::Reset));
    }

    #[tokio::test(start_paused = true)]
    async fn a_direction_ends_on_order_also_in_a_black_hole() {
        let mut it = stage(Conditions::default().black_hole());
        it.sender.write_all(b"never").await.unwrap();
        it.told.send_modify(|told| told.half_closes += 1);
        assert_eq!(it.receiver.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(it.over.await.unwrap(), Over::Ended);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_comes_late_and_after_everything_else() {
        let mut it = stage(Conditions::default().slow_close(300 * MS));
        it.sender.write_all(b"bye").await.unwrap();
        it.sender.shutdown().await.unwrap();
        assert_eq!(arrival(&mut it.receiver, 3).await.0, 0);
        let begin = Instant::now();
        assert_eq!(it.receiver.read(&mut [0]).await.unwrap(), 0);
        let ms = begin.elapsed().as_millis();
        assert!((299..=302).contains(&ms), "{ms}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_drew_luckily_is_spared() {
        let conditions = Conditions::default().latency(LONG).toxicity(0.5);
        for (draw, is_struck) in [(0.0, true), (0.49, true), (0.5, false), (0.99, false)] {
            let mut it = staged(conditions.clone(), 1, draw);
            it.sender.write_all(b"a").await.unwrap();
            let came = timeout(MS, it.receiver.read_u8()).await;
            assert_eq!(came.is_err(), is_struck, "{draw}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_is_gone_breaks_the_connection() {
        let mut it = stage(Conditions::default());
        drop(it.receiver);
        it.sender.write_all(b"x").await.unwrap();
        assert_eq!(it.over.await.unwrap(), Over::Broken);
    }

    #[test]
    fn every_direction_of_every_connection_draws_for_itself() {
        let mut drawn = std::collections::BTreeSet::new();
        for seed in 0..20 {
            for connection in 0..20 {
                for direction in 0..2 {
                    drawn.insert(random(seed, connection, direction).u64(..));
                    let again = random(seed, connection, direction).u64(..);
                    assert!(drawn.contains(&again));
                }
            }
        }
        assert_eq!(drawn.len(), 800);
    }
}
