//! An LRU cache of decoded objects, bounded by their estimated sizes and shared by threads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::id::ChunkId;

/// A cache with a limit on the total cost of its entries, as estimated by the caller.
#[derive(Debug)]
pub(crate) struct LruCache<T> {
    limit: usize,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    values: HashMap<ChunkId, CachedValue<T>>,
    /// By the number of their last use.
    order: BTreeMap<u64, ChunkId>,
    uses: u64,
    total_cost: usize,
}

#[derive(Debug)]
struct CachedValue<T> {
    value: Arc<T>,
    cost: usize,
    used: u64,
}

impl<T> LruCache<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::new(State::new()) }
    }

    pub(crate) fn get(&self, id: &ChunkId) -> Option<Arc<T>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let cached = state.values.get_mut(id)?;
        state.uses += 1;
        state.order.remove(&cached.used);
        state.order.insert(state.uses, *id);
        cached.used = state.uses;
        Some(Arc::clone(&cached.value))
    }

    /// Inserts a value and returns it. A value larger than the limit is cached alone.
    pub(crate) fn put(&self, id: ChunkId, value: T, cost: usize) -> Arc<T> {
        let value = Arc::new(value);
        let mut state = self.state.lock();
        state.remove(&id);
        while state.total_cost.saturating_add(cost) > self.limit
            && let Some((_, oldest)) = state.order.first_key_value()
        {
            let oldest = *oldest;
            state.remove(&oldest);
        }
        state.uses += 1;
        let used = state.uses;
        state.order.insert(used, id);
        state.total_cost = state.total_cost.saturating_add(cost);
        state.values.insert(id, CachedValue { value: Arc::clone(&value), cost, used });
        value
    }

    pub(crate) fn clear(&self) {
        *self.state.lock() = State::new();
    }
}

impl<T> State<T> {
    fn new() -> Self {
        Self { values: HashMap::new(), order: BTreeMap::new(), uses: 0, total_cost: 0 }
    }

    fn remove(&mut self, id: &ChunkId) {
        if let Some(cached) = self.values.remove(id) {
            self.order.remove(&cached.used);
            self.total_cost = self.total_cost.saturating_sub(cached.cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_entry_is_evicted_first() {
        let recent = LruCache::new(3);
        let id = |number| ChunkId::new([number; 32]);
        for number in 0..3 {
            recent.put(id(number), number, 1);
        }
        assert_eq!(recent.get(&id(0)).as_deref(), Some(&0));
        recent.put(id(3), 3, 1);
        let cached: Vec<bool> = (0..4).map(|number| recent.get(&id(number)).is_some()).collect();
        assert_eq!(cached, [true, false, true, true]);
        recent.put(id(9), 9, 100);
        assert_eq!((recent.get(&id(9)).as_deref(), recent.get(&id(0))), (Some(&9), None));
    }
}
