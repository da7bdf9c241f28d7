//! One direction of a connection that has faults: frames that come later, and frames that are overtaken.
//!
//! Invariant: without a fault everything passes in its order; what waits is bounded.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Frames that wait in one direction of one connection. Policy: beyond, the oldest comes early.
const WAITING_MAX: usize = 1024;

/// How a frame passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Through,
    Twice,
    Later(Duration),
    /// Behind the next frame of the same sort, or after this time.
    Overtaken(Duration),
}

struct Waiting<T> {
    due: Instant,
    frame: T,
}

/// What sort a frame is: only its like overtakes it.
pub(super) type Sort = u64;

pub(super) struct Lane<T> {
    /// In order, `due` never falling.
    line: VecDeque<Waiting<T>>,
    aside: Vec<(Sort, Waiting<T>)>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            line: VecDeque::new(),
            aside: Vec::new(),
        }
    }
}

impl<T: Clone> Lane<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty() && self.aside.is_empty()
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let line = self.line.front().map(|waiting| waiting.due);
        let aside = self.aside.iter().map(|(_, waiting)| waiting.due);
        aside.chain(line).min()
    }

    /// Takes a frame in; what comes out now is appended to `out`.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        sort: Sort,
        frame: T,
        passage: Passage,
        out: &mut VecDeque<T>,
    ) {
        match passage {
            Passage::Through => self.join(now, frame, out),
            Passage::Twice => {
                self.join(now, frame.clone(), out);
                self.join(now, frame, out);
            }
            Passage::Later(delay) => self.enqueue(now + delay, frame, out),
            // One is held back already: this is the one that overtakes it.
            Passage::Overtaken(_) if self.aside.iter().any(|(held, _)| *held == sort) => {
                self.join(now, frame, out);
            }
            Passage::Overtaken(within) => {
                if self.waiting() >= WAITING_MAX {
                    self.release_oldest(out);
                }
                let due = now + within;
                self.aside.push((sort, Waiting { due, frame }));
                return;
            }
        }
        // What was held back for this one follows it.
        let overtaken: Vec<T> = self
            .aside
            .extract_if(.., |(held, _)| *held == sort)
            .map(|(_, waiting)| waiting.frame)
            .collect();
        for frame in overtaken {
            self.join(now, frame, out);
        }
    }

    /// What is due by `now`.
    pub(super) fn take_due(&mut self, now: Instant, out: &mut VecDeque<T>) {
        while self.line.front().is_some_and(|first| first.due <= now) {
            out.extend(self.line.pop_front().map(|waiting| waiting.frame));
        }
        let late = self.aside.extract_if(.., |(_, waiting)| waiting.due <= now);
        out.extend(late.map(|(_, waiting)| waiting.frame));
    }

    /// Everything, whatever its time.
    pub(super) fn take_all(&mut self, out: &mut VecDeque<T>) {
        out.extend(self.line.drain(..).map(|waiting| waiting.frame));
        out.extend(self.aside.drain(..).map(|(_, waiting)| waiting.frame));
    }

    fn waiting(&self) -> usize {
        self.line.len() + self.aside.len()
    }

    /// Behind what waits already, if anything does.
    fn join(&mut self, now: Instant, frame: T, out: &mut VecDeque<T>) {
        match self.line.is_empty() {
            true => out.push_back(frame),
            false => self.enqueue(now, frame, out),
        }
    }

    fn enqueue(&mut self, due: Instant, frame: T, out: &mut VecDeque<T>) {
        if self.waiting() >= WAITING_MAX {
            self.release_oldest(out);
        }
        let due = self.line.back().map_or(due, |last| last.due.max(due));
        self.line.push_back(Waiting { due, frame });
    }

    fn release_oldest(&mut self, out: &mut VecDeque<T>) {
        match self.line.pop_front() {
            Some(waiting) => out.push_back(waiting.frame),
            None if self.aside.is_empty() => {}
            None => out.push_back(self.aside.remove(0).1.frame),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    struct Played {
        lane: Lane<u32>,
        start: Instant,
        out: VecDeque<u32>,
    }

    impl Played {
        fn new() -> Self {
            Self {
                lane: Lane::default(),
                start: Instant::now(),
                out: VecDeque::new(),
            }
        }

        fn pass(&mut self, at: u32, frame: u32, passage: Passage) {
            let now = self.start + at * MS;
            self.lane.take_due(now, &mut self.out);
            let sort = u64::from(frame / 100);
            self.lane.pass(now, sort, frame, passage, &mut self.out);
        }

        fn due(&mut self, at: u32) -> Vec<u32> {
            self.lane.take_due(self.start + at * MS, &mut self.out);
            std::mem::take(&mut self.out).into()
        }
    }

    #[test]
    fn a_delay_keeps_the_order_and_holds_up_what_is_behind_it() {
        let mut lane = Played::new();
        lane.pass(0, 1, Passage::Later(10 * MS));
        lane.pass(1, 2, Passage::Through);
        lane.pass(2, 3, Passage::Later(10 * MS));
        assert!(lane.due(9).is_empty());
        assert_eq!(lane.due(10), [1, 2]);
        assert_eq!(lane.due(12), [3]);
        assert!(lane.lane.is_empty());
        lane.pass(13, 4, Passage::Through);
        assert_eq!(lane.due(13), [4]);
    }

    #[test]
    fn the_next_frame_of_the_same_sort_overtakes_and_others_do_not_count() {
        let mut lane = Played::new();
        lane.pass(0, 101, Passage::Overtaken(50 * MS));
        lane.pass(1, 201, Passage::Through);
        assert_eq!(lane.due(1), [201]);
        lane.pass(2, 102, Passage::Through);
        assert_eq!(lane.due(2), [102, 101]);
        lane.pass(3, 103, Passage::Overtaken(50 * MS));
        assert!(lane.due(52).is_empty());
        assert_eq!(lane.due(53), [103], "nobody came");
        for frame in 104..108 {
            lane.pass(60, frame, Passage::Overtaken(50 * MS));
        }
        assert_eq!(lane.due(60), [105, 104, 107, 106], "in pairs");
    }

    #[test]
    fn a_frame_that_comes_twice_comes_twice_in_a_row() {
        let mut lane = Played::new();
        lane.pass(0, 1, Passage::Twice);
        lane.pass(0, 2, Passage::Through);
        assert_eq!(lane.due(0), [1, 1, 2]);
    }

    #[test]
    fn beyond_the_bound_the_oldest_comes_early() {
        let mut lane = Played::new();
        for frame in 0..=WAITING_MAX as u32 {
            lane.pass(0, frame, Passage::Later(1000 * MS));
        }
        assert_eq!(lane.due(0), [0]);
        assert_eq!(lane.lane.waiting(), WAITING_MAX);
        lane.lane.take_all(&mut lane.out);
        assert_eq!(lane.out.len(), WAITING_MAX);
    }
}
