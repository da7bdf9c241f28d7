//! What applications do with their sessions, as the watches see it.

use std::time::Duration;

use tidewire_core::time::Now;
use tidewire_core::{MutateError, MutateOptions};

use super::{Client, Wish};
use crate::app::{Act, Draft};
use crate::truth::Truth;
use crate::violation::{Checked, Violation, ensure};
use crate::watch::Watch;

impl Client {
    /// The application acts. `denied`: its principal was denied to write to that channel before.
    pub fn act(
        &mut self,
        now_ms: u64,
        act: Act,
        denied: bool,
        rng: &mut fastrand::Rng,
        truth: &mut Truth,
    ) -> Checked<Vec<Wish>> {
        let now = self.now(now_ms);
        match act {
            Act::Mutate(channel, draft) => self.mutate(now, channel, draft)?,
            Act::Cancel(channel, back) => {
                if let Some(running) = &mut self.running
                    && let Some(watch) = running.of(channel)
                    && let Some(handle) = watch.handle_back(back)
                {
                    let id = watch.id;
                    let done = running.session.cancel(now, handle);
                    if let Some(watch) = running.watches.get_mut(&id) {
                        watch.on_cancel(handle, done)?;
                    }
                }
            }
            Act::Pause(channel) => {
                if let Some(running) = &mut self.running
                    && let Some(watch) = running.of(channel)
                {
                    watch.is_paused = true;
                    let id = watch.id;
                    running.session.pause(now, id);
                }
            }
            Act::Resume(channel) => {
                if let Some(running) = &mut self.running
                    && let Some(watch) = running.of(channel)
                {
                    watch.is_paused = false;
                    watch.asked += 1;
                    let id = watch.id;
                    running.session.resume(now, id);
                }
            }
            Act::Burst(channel, count) => {
                for _ in 0..count {
                    let name = format!("burst{}", self.mutations);
                    let changes = crate::app::draw_changes(rng, &name);
                    self.mutate(now, channel, changes.into())?;
                }
            }
            Act::Presence(channel, data) => {
                if let Some(running) = &mut self.running
                    && let Some(watch) = running.of(channel)
                {
                    let id = watch.id;
                    // The core says the same data only once in a stream.
                    watch.was_hidden &= watch.presence == data;
                    watch.presence.clone_from(&data);
                    let set = running.session.set_presence(now, id, data);
                    ensure(set.is_ok(), "seam", || {
                        format!("presence was refused: {set:?}")
                    })?;
                }
            }
            Act::Subscribe(channel) => self.subscribe(now, channel, denied)?,
            Act::Unsubscribe(channel) => {
                if let Some(running) = &mut self.running
                    && running.watches.values().filter(|w| !w.is_released).count() > 1
                    && let Some(watch) = running.of(channel)
                {
                    watch.is_released = true;
                    watch.is_paused = false;
                    watch.presence = None;
                    let id = watch.id;
                    running.session.unsubscribe(now, id);
                }
            }
        }
        self.drive(now_ms, truth)
    }

    fn subscribe(&mut self, now: Now, channel: usize, denied: bool) -> Checked {
        let name = self.names[channel].clone();
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let id = running
            .session
            .subscribe(now, name)
            .map_err(|e| Violation::new("seam", format!("subscribe: {e}")))?;
        let author = running.author;
        let watch = running
            .watches
            .entry(id)
            .or_insert_with(|| Watch::new(id, channel, author));
        watch.is_released = false;
        watch.asked += 1;
        watch.was_denied |= denied;
        Ok(())
    }

    fn mutate(&mut self, now: Now, channel: usize, draft: Draft) -> Checked {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let Some(watch) = running.watch_of(channel) else {
            return Ok(());
        };
        let id = watch.id;
        let options = MutateOptions {
            ttl: draft.ttl_ms.map(Duration::from_millis),
            after: watch.handle_back(0).filter(|_| draft.follows),
            coalesce_key: draft.key.map(|key| format!("k{key}").into()),
            preconditions: draft
                .demands
                .iter()
                .map(|demand| watch.precondition(&running.session, demand))
                .collect(),
            ..MutateOptions::default()
        };
        let changes = draft.changes;
        match running
            .session
            .mutate(now, id, changes.clone(), options.clone())
        {
            Ok(handle) => {
                self.mutations += 1;
                if let Some(watch) = running.of(channel) {
                    watch.on_mutate(handle, changes.into(), options);
                }
                Ok(())
            }
            Err(
                MutateError::QueueFull { .. }
                | MutateError::ChannelFailed(_)
                | MutateError::UnknownDependency,
            ) => Ok(()),
            Err(other) => Err(Violation::new(
                "seam",
                format!("{changes:?} was refused: {other}"),
            )),
        }
    }
}
