//! Where the time of a network goes, operation by operation.

use super::cpu::Lanes;
use candle_core::Tensor;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::{cell::RefCell, fmt, time::Instant};

/// What was asked of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The result.
    Forward,
    /// The gradients.
    Backward,
    /// A change in place, of weights mostly.
    Update,
}

/// The calls of one operation on inputs of the same shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct OpTime {
    /// Its name.
    pub name: &'static str,
    /// What was asked of it.
    pub pass: Pass,
    /// The shapes of its first two inputs.
    pub shapes: Vec<Vec<usize>>,
    /// How often.
    pub calls: usize,
    /// All calls together.
    pub seconds: f64,
    /// Floating-point operations of all calls, as by the definition; 0 where they are not counted.
    pub flops: f64,
}

/// Operations by the time they took, longest first.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// The operations.
    pub ops: Vec<OpTime>,
    /// From start to end, in seconds: more than the operations' sum.
    pub seconds: f64,
}

thread_local! {
    static PROFILE: RefCell<Option<Profile>> = const { RefCell::new(None) };
}

/// Does `work` and tells what its operations took on this thread; operations of candle's own, and
/// what lies between, are in the whole alone.
pub fn profile<T>(work: impl FnOnce() -> T) -> (T, Profile) {
    PROFILE.set(Some(Profile::default()));
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    let mut ops = PROFILE.take().unwrap_or_default().ops;
    ops.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    (result, Profile { ops, seconds })
}

/// The profile that this thread takes, to go on with on another.
pub(super) fn take() -> Option<Profile> {
    PROFILE.take()
}

/// Goes on with a profile.
pub(super) fn resume(profile: Option<Profile>) {
    PROFILE.set(profile);
}

/// Does `work`, and notes it if a profile is taken. It is given as a name, what is asked, the inputs
/// and its multiply-adds.
pub(super) fn noted<T>(
    (name, pass): (&'static str, Pass),
    inputs: &[&Tensor],
    multiply_adds: impl FnOnce() -> u64,
    work: impl FnOnce() -> T,
) -> T {
    if PROFILE.with_borrow(Option::is_none) {
        return work();
    }
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    let shapes: Vec<_> = inputs.iter().take(2).map(|x| x.dims().to_vec()).collect();
    let flops = 2.0 * multiply_adds() as f64;
    PROFILE.with_borrow_mut(|profile| {
        let Some(Profile { ops, .. }) = profile else { return };
        let same = |op: &&mut OpTime| (op.name, op.pass, &op.shapes) == (name, pass, &shapes);
        match ops.iter_mut().find(same) {
            Some(op) => {
                op.calls += 1;
                op.seconds += seconds;
                op.flops += flops;
            }
            None => ops.push(OpTime { name, pass, shapes, calls: 1, seconds, flops }),
        }
    });
    result
}

impl Profile {
    /// The same with shapes taken together.
    pub fn by_name(&self) -> Self {
        let mut ops: Vec<OpTime> = Vec::new();
        for op in &self.ops {
            match ops.iter_mut().find(|o| (o.name, o.pass) == (op.name, op.pass)) {
                Some(sum) => {
                    sum.calls += op.calls;
                    sum.seconds += op.seconds;
                    sum.flops += op.flops;
                }
                None => ops.push(OpTime { shapes: Vec::new(), ..op.clone() }),
            }
        }
        ops.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Profile { ops, seconds: self.seconds }
    }

    /// A table: share, milliseconds, calls, rate, and the rate's share of `peak`, operations a second.
    pub fn table(&self, peak: f64) -> String {
        let mut lines = format!(
            "{:>6} {:>9} {:>5} {:>8} {:>6}  operation\n",
            "share", "ms", "calls", "GFLOP/s", "peak"
        );
        let mut line = |seconds: f64, calls: String, flops: f64, name: String| {
            let rate = if flops > 0.0 { flops / seconds / 1e9 } else { 0.0 };
            let rates = match rate {
                0.0 => format!("{:>8} {:>6}", "", ""),
                rate => format!("{rate:>8.0} {:>5.0}%", rate * 1e11 / peak),
            };
            let (share, ms) = (100.0 * seconds / self.seconds, 1e3 * seconds);
            lines += &format!("{share:>5.1}% {ms:>9.2} {calls:>5} {rates}  {name}\n");
        };
        for op in &self.ops {
            line(op.seconds, op.calls.to_string(), op.flops, op.to_string());
        }
        let own: f64 = self.ops.iter().map(|op| op.seconds).sum();
        line((self.seconds - own).max(0.0), String::new(), 0.0, "everything else".into());
        lines
    }
}

impl fmt::Display for OpTime {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let pass = match self.pass {
            Pass::Forward => "",
            Pass::Backward => " backward",
            Pass::Update => " in place",
        };
        write!(f, "{}{pass}", self.name)?;
        self.shapes.iter().try_for_each(|shape| write!(f, " {shape:?}"))
    }
}

/// The most floating-point operations a second that all threads together reach in f32 here, measured
/// on multiply-adds that need no memory.
pub fn peak_flops() -> f64 {
    /// So many independent chains hide the latency of an operation.
    const CHAINS: usize = 12;
    const STEPS: usize = 1 << 22;
    struct Chains;
    impl WithSimd for Chains {
        type Output = f64;

        #[inline(always)]
        #[allow(clippy::needless_range_loop)] // vectors in plain loops, see `cpu::product`
        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            let (a, b) = (simd.splat_f32s(0.999), simd.splat_f32s(0.001));
            let mut chains = [a; CHAINS];
            for i in 0..CHAINS {
                // The compiler must not know that chains are alike.
                chains[i] = simd.splat_f32s(std::hint::black_box(i as f32));
            }
            for _ in 0..STEPS {
                for i in 0..CHAINS {
                    chains[i] = simd.mul_add_e_f32s(chains[i], a, b);
                }
            }
            std::hint::black_box(chains);
            (2 * STEPS * CHAINS * S::F32_LANES) as f64
        }
    }
    let threads = rayon::current_num_threads();
    let round = || {
        let start = Instant::now();
        let flops: f64 = (0..threads).into_par_iter().map(|_| f32::run(Chains)).sum();
        flops / start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| round()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{backward, linear, silu, update};
    use candle_core::{DType, Device, Var};

    #[test]
    fn every_call_is_counted_under_its_shapes() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let weight = Var::from_tensor(&zeros(&[3, 2])).unwrap();
        let (bias, x) = (zeros(&[3]), zeros(&[5, 2]));
        let ((), profile) = profile(|| {
            let y = silu(&linear(&x, &weight, &bias).unwrap()).unwrap();
            let y = silu(&y).unwrap().sum_all().unwrap();
            backward(&y).unwrap();
            update([&bias], [], |[b], []| [b + 1.0]).unwrap();
        });
        let of = |name, pass| {
            let op = profile.ops.iter().find(|op| (op.name, op.pass) == (name, pass)).unwrap();
            (op.calls, op.flops, op.shapes[0].clone())
        };
        assert_eq!(of("linear", Pass::Forward), (1, 60.0, vec![5, 2]));
        // The rows are no variable: only the weights' gradient is taken.
        assert_eq!(of("linear", Pass::Backward), (1, 60.0, vec![5, 2]));
        assert_eq!(of("silu", Pass::Forward), (2, 0.0, vec![5, 3]));
        assert_eq!(of("silu", Pass::Backward), (2, 0.0, vec![5, 3]));
        assert_eq!(of("update", Pass::Update), (1, 0.0, vec![3]));
        assert!(profile.seconds >= profile.ops.iter().map(|op| op.seconds).sum());
        let table = profile.by_name().table(1e9);
        assert!(
            table.contains("linear backward\n") && table.contains("everything else"),
            "{table}"
        );
        // Between one multiply-add a cycle of a slow processor and what no processor does.
        let peak = peak_flops();
        assert!((1e8..1e14).contains(&peak), "{peak}");
        // Nothing is noted outside.
        silu(&x).unwrap();
        assert!(PROFILE.with_borrow(Option::is_none));
    }
}
