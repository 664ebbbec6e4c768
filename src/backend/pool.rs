//! The pool of buffers that the plans of a backend share, and the memory that it takes.
use crate::plan::Plan;
use std::collections::BTreeMap;

/// Which pool buffer plays which slot of a plan.
pub struct Assignment {
    /// For each slot the number of its buffer.
    pub slots: Vec<usize>,
    /// Sizes of the buffers to append to the pool.
    pub new: Vec<usize>,
}

/// Gives every slot a buffer of its own out of `pool`: the smallest that is large enough, or a new one.
pub fn assign(slots: &[usize], pool: &[usize]) -> Assignment {
    let mut order: Vec<usize> = (0..slots.len()).collect();
    order.sort_by_key(|&slot| std::cmp::Reverse(slots[slot]));
    let mut free: Vec<usize> = (0..pool.len()).collect();
    let mut assignment = Assignment {
        slots: vec![0; slots.len()],
        new: Vec::new(),
    };
    for slot in order {
        let fitting = (0..free.len()).filter(|&k| pool[free[k]] >= slots[slot]);
        assignment.slots[slot] = match fitting.min_by_key(|&k| pool[free[k]]) {
            Some(k) => free.swap_remove(k),
            None => {
                assignment.new.push(slots[slot]);
                pool.len() + assignment.new.len() - 1
            }
        };
    }
    assignment
}

/// Bytes that a backend allocates for these plans of one graph, compiled in this order.
pub fn memory_needed<'p>(plans: impl IntoIterator<Item = &'p Plan>) -> u64 {
    let mut pool: Vec<usize> = Vec::new();
    let mut owned = BTreeMap::new();
    for plan in plans {
        let new = assign(&plan.slots, &pool).new;
        pool.extend(new);
        owned.extend(&plan.owned);
    }
    let bytes = pool.into_iter().chain(owned.into_values().copied());
    bytes.map(|b| b as u64).sum()
}
