//! What the application sees: the base with every pending mutation applied on top.
//!
//! Invariant: the view equals a full replay of the pending mutations on the base, by their places. Only
//! records that both a change of the base and a pending mutation touch are computed again.
//!
//! A change that cannot apply (its record is gone, its field is no integer) shows nothing; the server
//! decides. So one record's view depends on that record alone.

use std::sync::Arc;

use super::MutationHandle;
use super::dirty::Dirty;
use crate::document::change::{apply_change, target};
use crate::document::{Document, Record, RecordKey};
use crate::planted;
use crate::sorted::SortedMap;
use crate::text_map::TextMap;
use crate::wire::{Change, Limits, OpInPlace};

/// Base and overlay of one channel.
#[derive(Debug, Default)]
pub(crate) struct OptimisticView {
    base: Document,
    pending: SortedMap<MutationHandle, Pending>,
    /// The highest place that anything ever had: what comes above it goes on top.
    top: u64,
    /// Only records that a pending mutation touches, by collection and id; no collection without one.
    shadows: TextMap<TextMap<Box<Shadow>>>,
}

/// One mutation, and where it stands among the others: by number, then in call order.
#[derive(Debug)]
struct Pending {
    place: u64,
    changes: Arc<[Change]>,
}

/// One record under pending mutations.
#[derive(Debug, Default)]
struct Shadow {
    /// Which pending mutations touch it, each once, in order.
    by: Vec<MutationHandle>,
    /// How it looks with them.
    record: Option<Record>,
}

impl OptimisticView {
    /// The state at the base's cursor, without any pending mutation.
    pub(crate) const fn base(&self) -> &Document {
        &self.base
    }

    pub(crate) fn record(&self, collection: &str, id: &str) -> Option<&Record> {
        match self.shadow(collection, id) {
            Some(shadow) => shadow.record.as_ref(),
            None => self.base.record(collection, id),
        }
    }

    pub(crate) fn is_pending(&self, collection: &str, id: &str) -> bool {
        self.shadow(collection, id).is_some()
    }

    pub(crate) fn ids(&self, collection: &str) -> Vec<Arc<str>> {
        let mut ids = Vec::new();
        let shadows = self.shadows.get(collection).into_iter();
        let shadows = shadows.flat_map(TextMap::iter);
        let mut shadows = shadows.map(|(id, shadow)| (id, &**shadow)).peekable();
        for id in self.base.ids(collection) {
            while let Some(shadow) = shadows.next_if(|(shadowed, _)| *shadowed < id) {
                ids.extend(visible_id(shadow));
            }
            match shadows.next_if(|(shadowed, _)| *shadowed == id) {
                Some(shadow) => ids.extend(visible_id(shadow)),
                None => ids.push(Arc::clone(id)),
            }
        }
        ids.extend(shadows.filter_map(visible_id));
        ids
    }

    /// The collections that have a visible record, sorted.
    pub(crate) fn collections(&self) -> Vec<Arc<str>> {
        let shadowed = self.shadows.iter().map(|(name, _)| name);
        let mut names: Vec<_> = self.base.collections().chain(shadowed).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| !self.ids(name).is_empty());
        names
    }

    /// Shows a mutation at its place; adds the records that look different to `dirty`.
    pub(crate) fn push(
        &mut self,
        handle: MutationHandle,
        place: u64,
        changes: Arc<[Change]>,
        limits: &Limits,
        dirty: &mut Dirty,
    ) {
        let is_above = place > self.top;
        self.top = self.top.max(place);
        let mut stale = Vec::new();
        for change in changes.iter().filter_map(|change| change.kind.as_ref()) {
            let (collection, id) = target(change);
            let shadow = self.shadows.entry(collection).value.entry(id);
            let (is_new, shadow) = (shadow.is_new, shadow.value);
            if is_new {
                shadow.record = self.base.record(collection, id).cloned();
            }
            if shadow.by.last() != Some(&handle) {
                shadow.by.push(handle);
            }
            if !is_above {
                stale.push(RecordKey::new(collection, id));
            } else if let Ok(next) = apply_change(shadow.record.as_ref(), change, limits)
                && next != shadow.record
            {
                shadow.record = next;
                dirty.note(collection, id);
            }
        }
        self.pending.insert(handle, Pending { place, changes });
        self.refresh(stale, limits, dirty);
    }

    /// The store has given a mutation its number. `moved`: so it stands elsewhere among the others now.
    pub(crate) fn place(
        &mut self,
        handle: MutationHandle,
        place: u64,
        moved: bool,
        limits: &Limits,
        dirty: &mut Dirty,
    ) {
        let Some(pending) = self.pending.get_mut(&handle) else {
            return;
        };
        pending.place = place;
        self.top = self.top.max(place);
        let kinds = pending.changes.iter().filter(|_| moved);
        let kinds = kinds.filter_map(|change| change.kind.as_ref()).map(target);
        let stale = kinds.map(|(collection, id)| RecordKey::new(collection, id));
        let stale = stale.collect();
        self.refresh(stale, limits, dirty);
    }

    /// Moves the base by `ops` and drops the mutations that it now contains or that were refused,
    /// in one step: nothing in between is ever visible. `false`: an op is not known.
    pub(crate) fn apply<'a>(
        &mut self,
        ops: impl Iterator<Item = OpInPlace<'a>>,
        dropped: &[MutationHandle],
        limits: &Limits,
        dirty: &mut Dirty,
    ) -> bool {
        let mut known = true;
        let mut stale = Vec::new();
        for op in ops {
            if matches!(op, OpInPlace::Clear) {
                for (collection, id, _) in self.base.records() {
                    if self.is_pending(collection, id) {
                        stale.push(RecordKey::new(collection, id));
                    } else {
                        dirty.note(collection, id);
                    }
                }
            }
            let Some(changed) = self.base.apply_in_place(op) else {
                known = false;
                continue;
            };
            if let Some((collection, id)) = op.target() {
                if !self.shadows.is_empty() && self.is_pending(collection, id) {
                    stale.push(RecordKey::new(collection, id));
                } else if changed {
                    dirty.note(collection, id);
                }
            }
        }
        self.drop_pending(dropped, &mut stale);
        self.replay(stale, limits, dirty);
        known
    }

    /// Drops mutations that ended without a change of the base.
    pub(crate) fn drop_mutations(
        &mut self,
        dropped: &[MutationHandle],
        limits: &Limits,
        dirty: &mut Dirty,
    ) {
        let mut stale = Vec::new();
        self.drop_pending(dropped, &mut stale);
        self.replay(stale, limits, dirty);
    }

    /// Puts another base in place, and drops mutations as [`Self::apply`] does.
    pub(crate) fn replace(
        &mut self,
        base: Document,
        dropped: &[MutationHandle],
        limits: &Limits,
        dirty: &mut Dirty,
    ) {
        let old = std::mem::replace(&mut self.base, base);
        let both = old.records().chain(self.base.records());
        let mut stale = Vec::new();
        for (collection, id, _) in both {
            if !self.is_pending(collection, id)
                && old.record(collection, id) != self.base.record(collection, id)
            {
                dirty.note(collection, id);
            }
        }
        for (collection, id, _) in self.shadows() {
            stale.push(RecordKey {
                collection: Arc::clone(collection),
                id: Arc::clone(id),
            });
        }
        self.drop_pending(dropped, &mut stale);
        self.refresh(stale, limits, dirty);
    }

    /// Every record that is visible, in canonical order.
    pub(crate) fn to_document(&self) -> Document {
        let mut view = self.base.clone();
        for (collection, id, shadow) in self.shadows() {
            view.replace(collection, id, shadow.record.clone());
        }
        view
    }

    fn shadow(&self, collection: &str, id: &str) -> Option<&Shadow> {
        self.shadows
            .get(collection)?
            .get(id)
            .map(|shadow| &**shadow)
    }

    fn shadows(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Shadow)> {
        self.shadows.iter().flat_map(|(collection, shadows)| {
            shadows
                .iter()
                .map(move |(id, shadow)| (collection, id, &**shadow))
        })
    }

    fn drop_pending(&mut self, dropped: &[MutationHandle], stale: &mut Vec<RecordKey>) {
        for handle in dropped {
            let pending = self.pending.remove(handle);
            for change in pending.iter().flat_map(|pending| pending.changes.iter()) {
                if let Some(kind) = &change.kind {
                    let (collection, id) = target(kind);
                    stale.push(RecordKey::new(collection, id));
                }
            }
        }
    }

    /// What is pending on records whose base or mutations are others now is applied to them again.
    fn replay(&mut self, mut stale: Vec<RecordKey>, limits: &Limits, dirty: &mut Dirty) {
        if planted!(DependentsNotReplayed) {
            stale.clear();
        }
        self.refresh(stale, limits, dirty);
    }

    /// Computes the given shadows again from the base.
    fn refresh(&mut self, mut stale: Vec<RecordKey>, limits: &Limits, dirty: &mut Dirty) {
        stale.sort_unstable();
        stale.dedup();
        for key in stale {
            let Some(shadows) = self.shadows.get_mut(&key.collection) else {
                continue;
            };
            let Some(shadow) = shadows.get_mut(&key.id) else {
                continue;
            };
            let mut record = self.base.record(&key.collection, &key.id).cloned();
            let all = &self.pending;
            shadow.by.retain(|by| all.get(by).is_some());
            sort(&mut shadow.by, |by| all.get(by).map(|other| other.place));
            let pending = shadow.by.iter().filter_map(|by| self.pending.get(by));
            for kind in pending
                .flat_map(|pending| pending.changes.iter())
                .filter_map(|change| change.kind.as_ref())
            {
                if target(kind) == (&*key.collection, &*key.id)
                    && let Ok(next) = apply_change(record.as_ref(), kind, limits)
                {
                    record = next;
                }
            }
            let changed = record != shadow.record;
            shadow.record = record;
            if shadow.by.is_empty() {
                shadows.remove(&key.id);
                if shadows.is_empty() {
                    self.shadows.remove(&key.collection);
                }
            }
            if changed {
                dirty.note(&key.collection, &key.id);
            }
        }
    }
}

fn visible_id((id, shadow): (&Arc<str>, &Shadow)) -> Option<Arc<str>> {
    shadow.record.is_some().then(|| Arc::clone(id))
}

/// Sorts what is in order but for a few that moved.
fn sort<K: PartialOrd>(list: &mut [MutationHandle], key: impl Fn(&MutationHandle) -> K) {
    for end in 1..list.len() {
        let mut at = end;
        while at > 0 && key(&list[at - 1]) > key(&list[at]) {
            list.swap(at - 1, at);
            at -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::document::change::to_op;
    use crate::wire::{
        ChangeKind, Clear, Field, Inc, Op, OpKind, Patch, PatchInPlace, Record as WireRecord,
        RecordRef, Unset,
    };

    const LIMITS: Limits = Limits::DEFAULT;

    fn record(id: u8, field: u8, value: i64) -> WireRecord {
        WireRecord {
            collection: "c".into(),
            id: id.to_string(),
            fields: vec![Field {
                name: field.to_string(),
                value: value.to_string().into(),
                ..Field::default()
            }],
            ..WireRecord::default()
        }
    }

    fn change() -> impl Strategy<Value = Change> {
        let kind = (0..5u8, 0..3u8, 0..3u8, -5..5i64).prop_map(|(kind, id, field, value)| {
            let fields = record(id, field, value);
            match kind {
                0 => ChangeKind::Set(fields),
                1 => ChangeKind::Put(fields),
                2 => ChangeKind::Unset(Unset {
                    collection: fields.collection,
                    id: fields.id,
                    fields: vec![field.to_string()],
                }),
                3 => ChangeKind::Del(RecordRef {
                    collection: fields.collection,
                    id: fields.id,
                }),
                _ => ChangeKind::Inc(Inc {
                    collection: fields.collection,
                    id: fields.id,
                    field: field.to_string(),
                    by: value,
                }),
            }
        });
        kind.prop_map(|kind| Change { kind: Some(kind) })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Mutate(Vec<Change>),
        /// Foreign ops, and how many of the oldest pending mutations leave with them.
        Apply(Vec<Change>, bool, usize),
        Replace(Vec<Change>, usize),
        /// Any pending mutation ends by itself: cancelled, expired, refused outside the log.
        Cancel(usize),
        /// A new one makes an older one superfluous, in the same step.
        Coalesce(Vec<Change>, usize),
        /// Another session's comes below some of ours.
        Below(Vec<Change>, usize),
        /// The store numbers one lower than another session's.
        Place(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let changes = || prop::collection::vec(change(), 1..4);
        prop_oneof![
            3 => changes().prop_map(Step::Mutate),
            3 => (changes(), prop::bool::weighted(0.1), 0..3usize)
                .prop_map(|(c, clear, n)| Step::Apply(c, clear, n)),
            1 => (changes(), 0..3usize).prop_map(|(c, n)| Step::Replace(c, n)),
            1 => (0..8usize).prop_map(Step::Cancel),
            1 => (changes(), 0..8usize).prop_map(|(c, n)| Step::Coalesce(c, n)),
            1 => (changes(), 0..8usize).prop_map(|(c, n)| Step::Below(c, n)),
            1 => (0..8usize, 0..8usize).prop_map(|(from, to)| Step::Place(from, to)),
        ]
    }

    fn ops(base: &Document, changes: &[Change]) -> Vec<Op> {
        let mut scratch = base.clone();
        let mut ops = Vec::new();
        for kind in changes.iter().filter_map(|change| change.kind.as_ref()) {
            let (collection, id) = target(kind);
            if let Ok(next) = apply_change(scratch.record(collection, id), kind, &LIMITS) {
                ops.push(to_op(kind, next.as_ref()));
                scratch.replace(collection, id, next);
            }
        }
        ops
    }

    fn apply(
        view: &mut OptimisticView,
        ops: Vec<Op>,
        dropped: &[MutationHandle],
        dirty: &mut Dirty,
    ) {
        let patch = Patch {
            ops,
            ..Patch::default()
        };
        let body = patch.encode_to_vec();
        let ops = PatchInPlace::again(&body).ops();
        assert!(view.apply(ops, dropped, &LIMITS, dirty));
    }

    /// The slow, obvious way.
    fn replay(base: &Document, pending: &[(MutationHandle, Vec<Change>)]) -> Document {
        let mut view = base.clone();
        for kind in pending
            .iter()
            .flat_map(|(_, changes)| changes)
            .filter_map(|change| change.kind.as_ref())
        {
            let (collection, id) = target(kind);
            if let Ok(next) = apply_change(view.record(collection, id), kind, &LIMITS) {
                view.replace(collection, id, next);
            }
        }
        view
    }

    fn take(pending: &mut Vec<(MutationHandle, Vec<Change>)>, which: usize) -> Vec<MutationHandle> {
        let found = which < pending.len();
        found.then(|| pending.remove(which).0).into_iter().collect()
    }

    fn changed(a: &Document, b: &Document) -> BTreeSet<RecordKey> {
        a.records()
            .chain(b.records())
            .filter(|(collection, id, _)| a.record(collection, id) != b.record(collection, id))
            .map(|(collection, id, _)| RecordKey::new(collection, id))
            .collect()
    }

    proptest! {
        #[test]
        fn incremental_equals_full_replay(steps in prop::collection::vec(step(), 1..40)) {
            let mut view = OptimisticView::default();
            let mut base = Document::default();
            let mut pending: Vec<(MutationHandle, Vec<Change>)> = Vec::new();
            let mut next = 0;
            let mut places = std::collections::BTreeMap::new();
            // Half way between two neighbours; steps are few enough for that.
            let between = |places: &std::collections::BTreeMap<MutationHandle, u64>, pending: &[(MutationHandle, Vec<Change>)], at: usize| {
                let below = at.checked_sub(1).map_or(0, |at| places[&pending[at].0]);
                let above = pending.get(at).map_or(below + (1 << 50), |(handle, _)| places[handle]);
                below.midpoint(above)
            };
            for step in steps {
                let before = view.to_document();
                let mut dirty = Dirty::default();
                let exact = match step {
                    Step::Mutate(changes) => {
                        next += 1;
                        let place = between(&places, &pending, pending.len());
                        places.insert(MutationHandle(next), place);
                        view.push(MutationHandle(next), place, changes.clone().into(), &LIMITS, &mut dirty);
                        pending.push((MutationHandle(next), changes));
                        false
                    }
                    Step::Below(changes, at) => {
                        let at = at.min(pending.len());
                        next += 1;
                        let place = between(&places, &pending, at);
                        places.insert(MutationHandle(next), place);
                        view.push(MutationHandle(next), place, changes.clone().into(), &LIMITS, &mut dirty);
                        pending.insert(at, (MutationHandle(next), changes));
                        false
                    }
                    Step::Place(from, to) => {
                        if from < pending.len() {
                            let row = pending.remove(from);
                            let to = to.min(pending.len());
                            let place = between(&places, &pending, to);
                            places.insert(row.0, place);
                            view.place(row.0, place, from != to, &LIMITS, &mut dirty);
                            pending.insert(to, row);
                        }
                        true
                    }
                    Step::Apply(changes, clear, leave) => {
                        let mut list = ops(&base, &changes);
                        if clear {
                            list.push(Op { kind: Some(OpKind::Clear(Clear {})) });
                        }
                        for op in &list {
                            base.apply(op);
                        }
                        let gone: Vec<_> = pending.drain(..leave.min(pending.len())).map(|p| p.0).collect();
                        apply(&mut view, list, &gone, &mut dirty);
                        false
                    }
                    Step::Replace(changes, leave) => {
                        let mut other = Document::default();
                        for op in ops(&other, &changes) {
                            other.apply(&op);
                        }
                        base = other.clone();
                        let gone: Vec<_> = pending.drain(..leave.min(pending.len())).map(|p| p.0).collect();
                        view.replace(other, &gone, &LIMITS, &mut dirty);
                        true
                    }
                    Step::Cancel(which) => {
                        let gone: Vec<_> = take(&mut pending, which);
                        view.drop_mutations(&gone, &LIMITS, &mut dirty);
                        true
                    }
                    Step::Coalesce(changes, which) => {
                        let gone: Vec<_> = take(&mut pending, which);
                        next += 1;
                        let place = between(&places, &pending, pending.len());
                        places.insert(MutationHandle(next), place);
                        view.push(MutationHandle(next), place, changes.clone().into(), &LIMITS, &mut dirty);
                        pending.push((MutationHandle(next), changes));
                        view.drop_mutations(&gone, &LIMITS, &mut dirty);
                        false
                    }
                };
                let after = view.to_document();
                prop_assert_eq!(&after, &replay(&base, &pending));
                let must = changed(&before, &after);
                let dirty: BTreeSet<_> = dirty.take().into_iter().collect();
                prop_assert!(dirty.is_superset(&must), "{:?} lacks {:?}", dirty, must);
                if exact {
                    prop_assert_eq!(dirty, must);
                }
                let ids: Vec<_> = after.ids("c").cloned().collect();
                prop_assert_eq!(view.ids("c"), ids);
            }
        }
    }

    #[test]
    fn ones_own_edit_coming_back_changes_nothing_visible() {
        let mut view = OptimisticView::default();
        let mut dirty = Dirty::default();
        let put = Change {
            kind: Some(ChangeKind::Put(record(1, 1, 1))),
        };
        view.push(
            MutationHandle(1),
            1,
            [put.clone()].into(),
            &LIMITS,
            &mut dirty,
        );
        assert_eq!(dirty.take().len(), 1);
        let ops = ops(&Document::default(), &[put]);
        apply(&mut view, ops, &[MutationHandle(1)], &mut dirty);
        assert!(dirty.take().is_empty());
        assert!(!view.is_pending("c", "1"));
    }
}
