//! Memory of the threads that outlives a call: what a kernel needs for a while is not asked of the system each time.
use std::cell::RefCell;

thread_local! {
    /// What the tasks of the call that this thread leads share: the packed weight, or its gradient.
    pub static SHARED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// The packed rows of the task that this thread works on.
    pub static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// The transformed tiles of the task that this thread works on.
    pub static PRODUCTS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends the calling thread's memory, `len` elements of unspecified contents.
pub fn lend<R>(
    memory: &'static std::thread::LocalKey<RefCell<Vec<f32>>>,
    len: usize,
    work: impl FnOnce(&mut [f32]) -> R,
) -> R {
    memory.with_borrow_mut(|memory| {
        if memory.len() < len {
            memory.resize(len, 0.0);
        }
        work(&mut memory[..len])
    })
}
