//! What several tests sample from.

use candle_core::Tensor;
use diff_models::{Condition, Context, Denoiser, Mean, Prediction, Second};

/// The made-up network of `tests/golden/solvers.py` and `steps.py`.
pub(crate) struct MadeUp;

impl Denoiser for MadeUp {
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        _: &Condition,
        _: &Context,
    ) -> diff_models::Result<Prediction> {
        // Its time counts from 0.
        let wave = x.affine(2.0, 0.01 * (t[0] - 1.0))?.sin()?;
        let eps = (x.affine(0.5, 0.0)? + wave.affine(0.3, 0.0)?)?;
        Ok(Prediction { mean: Mean::Eps(eps), second: Second::None })
    }
}
