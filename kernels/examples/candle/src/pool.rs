//! Whose threads multiply: the kernels bring none.

use candle_core::utils::barrier_pool;
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// A thread pool of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// rayon's global one.
    Rayon,
    /// The one that candle's own quantized products use.
    Candle,
}

impl Pool {
    /// Calls `f` for every item, on any thread, and returns the first error.
    ///
    /// # Errors
    /// One of those that `f` returned.
    pub fn for_each<T: Send, E: Send>(
        self,
        items: Vec<T>,
        f: impl Fn(T) -> Result<(), E> + Send + Sync,
    ) -> Result<(), E> {
        if items.len() < 2 {
            return items.into_iter().try_for_each(f);
        }
        match self {
            Pool::Rayon => items.into_par_iter().with_max_len(1).try_for_each(f),
            Pool::Candle => {
                let items: Vec<_> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
                let failed = Mutex::new(None);
                barrier_pool().execute_chunked(items.len(), |range| {
                    for item in &items[range] {
                        let item = item.lock().unwrap_or_else(PoisonError::into_inner).take();
                        if let Some(Err(e)) = item.map(&f) {
                            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                        }
                    }
                });
                failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
            }
        }
    }
}
