//! Where tensors live.

use crate::Error;
use candle_core::Device;

/// `cpu`, `cuda`, or `cuda:N`.
///
/// # Errors
/// When the name is another one, when this build has no CUDA, or when the card does not answer.
pub fn open(name: &str) -> Result<Device, Error> {
    let ordinal = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => Some(0),
        Some(("cuda", number)) => number.parse().ok(),
        _ => None,
    };
    let ordinal = ordinal.ok_or_else(|| {
        diff_core::Error::argument("device", name, "cpu, cuda or cuda:N, N the number of a card")
    })?;
    if !cfg!(feature = "cuda") {
        let expected = "cpu: this build has no CUDA; build with --features cuda";
        return Err(diff_core::Error::argument("device", name, expected).into());
    }
    Ok(Device::new_cuda(ordinal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(open("cpu").unwrap().is_cpu());
        for name in ["gpu", "cuda:x", "cpu:0", ""] {
            let error = open(name).unwrap_err().to_string();
            assert!(error.contains("cpu, cuda or cuda:N"), "{error}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_so() {
        assert!(open("cuda").unwrap_err().to_string().contains("--features cuda"));
    }
}
