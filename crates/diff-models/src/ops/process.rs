//! Settings of the process that kernels run in.
#![allow(unsafe_code)] // the environment, and a setting of the C library

use super::profile;
use rayon::ThreadPoolBuildError;
use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

/// Starts the threads for computation, as many as asked for, as RAYON_NUM_THREADS says, or as there
/// are cores, and makes the C library keep freed memory. To be called first in `main`.
///
/// # Errors
/// When the threads cannot be started, or were before.
pub fn settle(threads: Option<NonZeroUsize>) -> Result<(), ThreadPoolBuildError> {
    const VARIABLE: &str = "RAYON_NUM_THREADS";
    let said = || std::env::var(VARIABLE).ok()?.parse::<NonZeroUsize>().ok();
    let cores = || std::thread::available_parallelism().ok();
    if let Some(threads) = threads.or_else(said).or_else(cores) {
        // candle asks for this variable in every operation, and counts cores by reading
        // /proc/cpuinfo each time that it is not set.
        // SAFETY: the program has one thread at this point.
        unsafe { std::env::set_var(VARIABLE, threads.to_string()) };
        rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global()?;
    }
    keep_freed_memory();
    Ok(())
}

/// Does `work` on one of the threads for computation, on which sharing out a loop costs much less
/// than from any other thread: no waking up, no waiting to be woken. Where several threads ask for
/// it, they come one after the other, as each would use all threads anyway.
///
/// `work` must not wait for another thread that computes.
pub fn within<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    /// Two at a time would mix on one thread, as a thread that waits for others takes on new work.
    static TURN: Mutex<()> = Mutex::new(());
    if rayon::current_thread_index().is_some() {
        return work();
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let profile = profile::take();
    let (result, profile) = rayon::scope(|_| {
        profile::resume(profile);
        let result = work();
        (result, profile::take())
    });
    profile::resume(profile);
    result
}

/// Activations are of the same sizes in every step: what one frees the next one needs. Giving it
/// back to the system in between would cost a page fault for every 4 KiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_freed_memory() {
    // SAFETY: settings of the allocator that may be changed at any time.
    unsafe {
        // Some versions refuse more than half of a heap's largest size.
        if libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX) == 0 {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        }
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_freed_memory() {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{backward, linear, profile, record, silu};
    use candle_core::{Device, Tensor, Var};
    use std::thread;

    /// The gradient by the weight of a network of two layers, at one `x` of many rows.
    fn gradient(x: f32) -> Vec<f32> {
        let numbers = |rows: usize, columns: usize, value: f32| {
            let values = (0..rows * columns).map(|i| value * (i as f32).sin()).collect();
            Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
        };
        let (x, bias) = (numbers(500, 40, x), numbers(1, 40, 0.1).squeeze(0).unwrap());
        let weight = Var::from_tensor(&numbers(40, 40, 0.3)).unwrap();
        let y = record(&[&x], || {
            let h = silu(&linear(&x, &weight, &bias)?)?;
            linear(&h, &weight, &bias)
        });
        let loss = y.unwrap().sqr().unwrap().sum_all().unwrap();
        let gradient = backward(&loss).unwrap().take(&weight).unwrap().unwrap();
        gradient.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn threads_that_compute_at_a_time_do_not_mix() {
        let alone: Vec<_> = (1..5).map(|x| gradient(x as f32)).collect();
        for _ in 0..5 {
            let threads: Vec<_> =
                (1..5).map(|x| thread::spawn(move || gradient(x as f32))).collect();
            let together: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
            assert_eq!(together, alone);
        }
    }

    #[test]
    fn work_moves_to_the_threads_for_computation_and_takes_its_profile_along() {
        assert!(rayon::current_thread_index().is_none());
        let (index, taken) = profile(|| {
            within(|| {
                gradient(1.0);
                within(rayon::current_thread_index)
            })
        });
        assert!(index.is_some());
        assert!(taken.ops.iter().any(|op| op.name == "linear"), "{taken:?}");
        let panicked = thread::spawn(|| within(|| panic!("of the work"))).join();
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"of the work"));
        assert_eq!(within(|| 3), 3);
    }
}
