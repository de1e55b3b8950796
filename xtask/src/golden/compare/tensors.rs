//! Tensors: the same names, shapes, types and notes, and values alike.

use super::{Differences, apart, norm, over, relative};
use anyhow::{Context, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::BTreeMap;

/// How far tensors may be apart.
const BOUND: f64 = 1e-5;

/// The same for gradients, which lose more to rounding.
const GRADIENT: f64 = 1e-4;

/// A gradient smaller than this part of the largest one is nothing but rounding, as those of the
/// keys' biases, which softmax does not see. Anew it must be as small.
const ROUNDING: f64 = 1e-6;

/// What a file holds.
struct Contents<'a> {
    notes: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorView<'a>>,
}

impl<'a> Contents<'a> {
    fn read(bytes: &'a [u8], whose: &str) -> Result<Self> {
        let what = || format!("the {whose} file: expected safetensors");
        let (_, header) = SafeTensors::read_metadata(bytes).with_context(what)?;
        let notes = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let tensors = SafeTensors::deserialize(bytes).with_context(what)?;
        Ok(Contents { notes, tensors: tensors.tensors().into_iter().collect() })
    }
}

pub(super) fn compare(old: &[u8], new: &[u8], differences: &mut Differences) -> Result<()> {
    let (old, new) = (Contents::read(old, "committed")?, Contents::read(new, "new")?);
    for (key, note) in &old.notes {
        match new.notes.get(key) {
            None => differences.other(format!("note `{key}` is missing")),
            Some(found) if found != note => differences.other(format!("note `{key}` differs")),
            Some(_) => {}
        }
    }
    for key in new.notes.keys().filter(|key| !old.notes.contains_key(*key)) {
        differences.other(format!("note `{key}` is new"));
    }
    let sizes = gradients(&old.tensors);
    for (name, committed) in &old.tensors {
        match new.tensors.get(name) {
            None => differences.other(format!("tensor `{name}` is missing")),
            Some(made) => tensor(name, committed, made, &sizes, differences),
        }
    }
    for name in new.tensors.keys().filter(|name| !old.tensors.contains_key(*name)) {
        differences.other(format!("tensor `{name}` is new"));
    }
    Ok(())
}

/// Norms of the gradients of a file, by parameter.
fn gradients(tensors: &BTreeMap<String, TensorView>) -> BTreeMap<String, f64> {
    let size = |(name, tensor): (&String, &TensorView)| {
        let (kind, parameter) = name.split_once('.')?;
        ["grad", "norm"].contains(&kind).then_some(())?;
        Some((parameter.to_string(), norm(&floats(tensor)?)))
    };
    tensors.iter().filter_map(size).collect()
}

fn tensor(
    name: &str,
    old: &TensorView,
    new: &TensorView,
    sizes: &BTreeMap<String, f64>,
    differences: &mut Differences,
) {
    if old.dtype() != new.dtype() {
        let (new, old) = (new.dtype(), old.dtype());
        return differences.other(format!("tensor `{name}` is {new:?} instead of {old:?}"));
    }
    if old.shape() != new.shape() {
        let (new, old) = (new.shape(), old.shape());
        return differences.other(format!("tensor `{name}` is {new:?} instead of {old:?}"));
    }
    if old.data() == new.data() {
        return differences.distance(|| format!("tensor `{name}`"), 0.0, BOUND);
    }
    let (Some(committed), Some(made)) = (floats(old), floats(new)) else {
        // Whole numbers are counted, not computed.
        return differences
            .other(format!("tensor `{name}`: {}", super::bytes(old.data(), new.data())));
    };
    let (distance, bound) = match name.split_once('.') {
        Some(("grad" | "norm" | "some", parameter)) => {
            let largest = sizes.values().copied().fold(0.0, f64::max);
            match sizes.get(parameter) {
                Some(size) if *size < ROUNDING * largest => {
                    (over(apart(&made, &committed), largest), ROUNDING)
                }
                _ => (relative(&made, &committed), GRADIENT),
            }
        }
        _ => (relative(&made, &committed), BOUND),
    };
    differences.distance(|| format!("tensor `{name}`"), distance, bound);
}

/// The values of a tensor of f32 or f64.
fn floats(tensor: &TensorView) -> Option<Vec<f64>> {
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => {
            let (values, _) = data.as_chunks();
            Some(values.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect())
        }
        Dtype::F64 => {
            let (values, _) = data.as_chunks();
            Some(values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Comparison, Verdict,
        tests::{compared, reason},
    };
    use super::*;
    use std::collections::HashMap;

    /// A file that is being made up.
    #[derive(Clone)]
    struct Made {
        tensors: BTreeMap<&'static str, (Dtype, Vec<usize>, Vec<u8>)>,
        notes: HashMap<String, String>,
    }

    impl Made {
        /// One of each kind; the gradient of `key` is rounding.
        fn new() -> Self {
            let notes = HashMap::from([("shape".to_string(), "[2]".to_string())]);
            Made { tensors: BTreeMap::new(), notes }
                .f32("out", &[3.0, 4.0])
                .f32("grad.weight", &[3e3, 4e3])
                .f32("norm.key", &[1e-5])
                .f32("some.key", &[1e-5, 0.0])
                .u8("picture", &[1, 2, 3])
        }

        fn f32(self, name: &'static str, values: &[f32]) -> Self {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.with(name, Dtype::F32, vec![values.len()], bytes)
        }

        fn u8(self, name: &'static str, values: &[u8]) -> Self {
            self.with(name, Dtype::U8, vec![values.len()], values.to_vec())
        }

        fn with(
            mut self,
            name: &'static str,
            dtype: Dtype,
            shape: Vec<usize>,
            bytes: Vec<u8>,
        ) -> Self {
            self.tensors.insert(name, (dtype, shape, bytes));
            self
        }

        fn note(mut self, key: &str, value: Option<&str>) -> Self {
            self.notes.remove(key);
            self.notes.extend(value.map(|value| (key.to_string(), value.to_string())));
            self
        }

        fn bytes(&self) -> Vec<u8> {
            let views = self.tensors.iter().map(|(name, (dtype, shape, data))| {
                (name.to_string(), TensorView::new(*dtype, shape.clone(), data).unwrap())
            });
            let views: Vec<_> = views.collect();
            // Hash maps have no order, and notes of another order would be other bytes.
            assert!(self.notes.len() < 2);
            safetensors::serialize(views, Some(self.notes.clone())).unwrap()
        }
    }

    fn with(made: Made) -> Comparison {
        compared("a.safetensors", &Made::new().bytes(), &made.bytes())
    }

    fn why(made: Made) -> String {
        reason("a.safetensors", &Made::new().bytes(), &made.bytes())
    }

    #[test]
    fn the_same_is_the_same() {
        assert_eq!(with(Made::new()), Comparison { distance: Some(0.0), verdict: Verdict::Same });
    }

    #[test]
    fn values_may_differ_by_little_and_gradients_by_more() {
        let close = with(Made::new().f32("out", &[3.0, 4.00004]));
        assert_eq!(close.verdict, Verdict::Close);
        assert!(close.distance.is_some_and(|d| (7e-6..9e-6).contains(&d)), "{close:?}");
        assert_eq!(with(Made::new().f32("grad.weight", &[3e3, 4000.4])).verdict, Verdict::Close);
        let far = why(Made::new().f32("out", &[3.0, 4.0004]));
        assert_eq!(far, "tensor `out` is 8.0e-5 away, at most 1e-5");
        let far = why(Made::new().f32("grad.weight", &[3e3, 4004.0]));
        assert_eq!(far, "tensor `grad.weight` is 8.0e-4 away, at most 1e-4");
        assert!(why(Made::new().f32("out", &[3.0, f32::NAN])).contains("`out` is NaN away"));
    }

    #[test]
    fn gradients_that_are_rounding_stay_small_and_need_not_be_alike() {
        let other = Made::new().f32("norm.key", &[3e-5]).f32("some.key", &[0.0, -3e-5]);
        assert_eq!(with(other).verdict, Verdict::Close);
        for name in ["norm.key", "some.key"] {
            let far =
                Made::new().f32(name, if name == "norm.key" { &[1e-1] } else { &[1e-1, 0.0] });
            assert_eq!(why(far), format!("tensor `{name}` is 2.0e-5 away, at most 1e-6"));
        }
    }

    #[test]
    fn whole_numbers_are_the_same_or_differ() {
        let far = why(Made::new().u8("picture", &[1, 2, 4]));
        assert_eq!(far, "tensor `picture`: 1 bytes differ, the first at 2");
    }

    #[test]
    fn names_shapes_types_and_notes_are_the_same() {
        let mut missing = Made::new();
        missing.tensors.remove("out");
        let flat: Vec<u8> = [3.0f32, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        for (made, words) in [
            (missing, "tensor `out` is missing"),
            (Made::new().f32("more", &[1.0]), "tensor `more` is new"),
            (
                Made::new().with("out", Dtype::F32, vec![1, 2], flat.clone()),
                "tensor `out` is [1, 2] instead of [2]",
            ),
            (
                Made::new().with("out", Dtype::I32, vec![2], flat),
                "tensor `out` is I32 instead of F32",
            ),
            (Made::new().note("shape", Some("[3]")), "note `shape` differs"),
            (Made::new().note("shape", None), "note `shape` is missing"),
        ] {
            assert_eq!(why(made), words);
        }
        let bare = Made::new().note("shape", None);
        let noted = reason("a.safetensors", &bare.bytes(), &Made::new().bytes());
        assert_eq!(noted, "note `shape` is new");
        let broken = reason("a.safetensors", &bare.bytes(), b"abc");
        assert!(broken.contains("the new file: expected safetensors"), "{broken}");
    }
}
